//! From floats to integers: scales from calibration data, and the report of what it cost.
