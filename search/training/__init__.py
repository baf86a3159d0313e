"""Training: the recipe, the trainer, augmentation."""
