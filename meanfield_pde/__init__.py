"""Mean-field limits of wide neural networks: densities and particles, side by side."""

from meanfield_pde.measures.grid import Grid
from meanfield_pde.measures.density import Density
from meanfield_pde.measures.cloud import Cloud
from meanfield_pde.measures.group import Group
from meanfield_pde.energies.potential import Potential, Penalty
from meanfield_pde.energies.interaction import Interaction
from meanfield_pde.energies.energy import Entropy
from meanfield_pde.energies.unit import Unit
from meanfield_pde.energies.data import Data
from meanfield_pde.energies.loss import CustomLoss, Huber, Loss
from meanfield_pde.energies.risk import Network, Risk
from meanfield_pde.energies.variants import data_augmented, feature_averaged
from meanfield_pde.flows.gradient_flow import GradientFlow
from meanfield_pde.flows.problem import Problem
from meanfield_pde.eulerian.solve import solve
from meanfield_pde.eulerian.gibbs import gibbs
from meanfield_pde.lagrangian.dynamics import SGD, Langevin
from meanfield_pde.lagrangian.simulate import simulate
