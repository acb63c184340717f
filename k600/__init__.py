"""The parts of the Kinetics-600 loader; `import kinetics600` is the way in."""
