//! Bugs by number: one test each, named after the issue and what went wrong, with the number in its
//! documentation. A bug is fixed once its test was seen to fail here.
