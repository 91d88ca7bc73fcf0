//! Files of the sizes that matter arrive whole, and stdout says what the service said.

use crate::support::{MIB, PART, World};

#[test]
fn files_of_every_size_arrive_byte_for_byte() {
    let world = World::new();
    for size in [0, 1, PART - 1, PART, PART + 1, 2 * PART, 3 * PART + 12_345] {
        let path = world.file("file.bin", size);
        let ran = world.run(&["file.bin"]);
        world.assert_stored(&ran.ok().id(), &path);
        assert_eq!(ran.json()["size"], size);
    }
}

#[test]
fn a_file_of_200_mib_arrives_byte_for_byte() {
    let world = World::new();
    let path = world.file("large.bin", 200 * MIB);
    let ran = world.run(&["large.bin"]);
    world.assert_stored(&ran.ok().id(), &path);
}
