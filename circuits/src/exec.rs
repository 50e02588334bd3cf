//! The exact executor: the same bits on any machine, on any number of threads.
