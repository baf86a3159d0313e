"""Which accuracy estimator tells best: a set of fully trained networks, and what each estimator says of them."""
