//! Evaluation of single expressions; scripts cover the breadth.
