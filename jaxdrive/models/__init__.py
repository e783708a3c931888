"""The network: backbone, common part and heads."""
