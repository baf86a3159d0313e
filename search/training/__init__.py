"""Training: the recipe, the trainer, evaluation, augmentation."""
