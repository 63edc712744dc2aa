//! The engine against finite differences, candle and closed forms.

mod candle;
mod finite_differences;
mod pytorch;
