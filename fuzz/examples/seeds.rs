//! Writes the samples of every target where cargo-fuzz looks for them: `corpus/TARGET/sample-N`.

use std::{fs, io, path::Path};

fn main() -> io::Result<()> {
    for target in fuzz::TARGETS.iter() {
        let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("corpus").join(target.name);
        fs::create_dir_all(&folder)?;
        for (n, sample) in (target.samples)().iter().enumerate() {
            fs::write(folder.join(format!("sample-{n}")), sample)?;
        }
    }
    Ok(())
}
