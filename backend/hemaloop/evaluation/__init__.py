"""How good a model is, one module a kind of prediction: pure functions of truths and predictions."""
