//! Hand-made traces whose figures a person can check in the head.
