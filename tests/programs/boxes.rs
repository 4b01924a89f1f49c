//! Blocks from a module of a Rust program, through Box and Vec.

mod shelf {
    #[inline(never)]
    pub fn make_box() -> Box<[u8; 7001]> {
        Box::new([1; 7001])
    }

    #[inline(never)]
    pub fn make_vector() -> Vec<u8> {
        let mut vector = Vec::with_capacity(7002);
        vector.push(1);
        vector
    }
}

fn main() {
    let (one, two) = (shelf::make_box(), shelf::make_vector());
    std::process::exit(i32::from(one[0]) - i32::from(two[0]));
}
