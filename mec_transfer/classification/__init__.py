"""k-NN, linear probe, semi-supervised finetuning."""
