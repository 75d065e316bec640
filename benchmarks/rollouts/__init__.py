"""How often a harmless release is taken back, how soon a harmful one is."""
