//! Tokenizers: train, load, encode, decode.
