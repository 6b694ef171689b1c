//! What views say, case by case.
