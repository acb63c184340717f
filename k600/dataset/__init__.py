"""What Kinetics-600 is made of: splits, classes, clips and their names; why one may be missing."""
