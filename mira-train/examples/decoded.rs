//! Prints a line for each image of a folder: the CRC-32 of its pixels as they are decoded (`-` if they cannot be), and its file; for `dev/check_decoder`.

use std::path::PathBuf;

use mira_train::data::{Format, Image, Split, open};

fn main() -> Result<(), Box<dyn std::error::Error>> {
    let folder = PathBuf::from(std::env::args_os().nth(1).ok_or("give a folder")?);
    let source = open(Format::ImageFolder, Some(&folder), Split::Train)?;
    let mut image = Image::default();
    for index in 0..source.len() {
        let name = source.name(index);
        match source.load(index, &mut image) {
            Ok(()) => {
                let mut crc = flate2::Crc::new();
                crc.update(&image.pixels);
                println!("{:08x} {name}", crc.sum());
            }
            Err(_) => println!("- {name}"),
        }
    }
    Ok(())
}
