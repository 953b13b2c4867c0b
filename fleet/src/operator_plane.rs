//! Plain HTTP for operators.
