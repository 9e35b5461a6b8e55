"""Masked image modelling: hide a part, predict it from the rest."""
