"""What claims about games are checked on."""
