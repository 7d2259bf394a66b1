"""Where a model looks: heatmaps by several methods, pictures of them, and whether they are true."""
