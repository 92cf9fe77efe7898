//! Tensors and the autograd tape, with hand-written backward passes.
