//! Reads typed values out of a tree and collects every problem on the way.
