"""The torch modules that spaces build: cells, blocks, operations, and their initialisation."""
