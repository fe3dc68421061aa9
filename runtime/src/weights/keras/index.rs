//! Members of HDF5 groups by name, each group listed once: the library reads a group's whole
//! listing for each member that is looked up in it, which takes time quadratic in the layers of a
//! file.

use std::collections::HashMap;

use hdf5_pure::{Dataset, Error, Group};

/// The members of a group, and those of the groups in it that were asked for.
pub(super) struct Index {
    group: Group,
    /// What is listed so far. A member that is missing here, or a listing that fails, is looked up
    /// by the library, whose error says why.
    groups: Option<HashMap<String, Index>>,
    datasets: Option<HashMap<String, Dataset>>,
}

impl Index {
    /// Nothing is listed yet.
    pub fn new(group: Group) -> Self {
        Self { group, groups: None, datasets: None }
    }

    /// The group at a path of names with `/` between.
    pub fn group(&mut self, path: &str) -> Result<Group, Error> {
        match self.inner(path) {
            Some(inner) => Ok(inner.group.clone()),
            None => self.group.group(path),
        }
    }

    /// The dataset at a path of names with `/` between.
    pub fn dataset(&mut self, path: &str) -> Result<Dataset, Error> {
        let (folder, name) = path.rsplit_once('/').unwrap_or(("", path));
        let known = self.inner(folder).and_then(|inner| inner.datasets().get(name).cloned());
        known.map_or_else(|| self.group.dataset(path), Ok)
    }

    /// The index of the group at a path, the group itself for an empty one.
    fn inner(&mut self, path: &str) -> Option<&mut Index> {
        match path.split_once('/').unwrap_or((path, "")) {
            ("", "") => Some(self),
            (name, rest) => self.groups().get_mut(name)?.inner(rest),
        }
    }

    fn groups(&mut self) -> &mut HashMap<String, Index> {
        let list = || {
            let listed = self.group.iter_groups().into_iter().flatten();
            listed.map(|(name, group)| (name, Index::new(group))).collect()
        };
        self.groups.get_or_insert_with(list)
    }

    fn datasets(&mut self) -> &mut HashMap<String, Dataset> {
        self.datasets.get_or_insert_with(|| self.group.iter_datasets().into_iter().flatten().collect())
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;
    use std::sync::atomic::{AtomicU64, Ordering};

    use hdf5_pure::{AttrValue, File, FileBuilder, FormatError, Source};

    use super::super::{Config, hdf5};

    /// Bytes that count how many of them are read.
    struct Counted {
        bytes: Vec<u8>,
        read: Arc<AtomicU64>,
    }

    impl Source for Counted {
        fn len(&self) -> u64 {
            self.bytes.len() as u64
        }

        fn read_at(&self, offset: u64, buffer: &mut [u8]) -> Result<(), FormatError> {
            self.read.fetch_add(buffer.len() as u64, Ordering::Relaxed);
            let start = offset as usize;
            let bytes = self.bytes.get(start..start + buffer.len());
            buffer.copy_from_slice(bytes.ok_or(FormatError::OffsetOverflow { offset, length: 0 })?);
            Ok(())
        }
    }

    /// Bytes that are read to list a file of `layers` layers.
    fn read_of(layers: usize) -> u64 {
        let mut builder = FileBuilder::new();
        let names: Vec<String> = (0..layers).map(|n| format!("layer_{n}")).collect();
        for name in &names {
            let mut group = builder.create_group(name);
            group.set_attr("weight_names", AttrValue::AsciiStringArray(vec![format!("{name}_W:0")]));
            group.create_dataset(&format!("{name}_W:0")).with_f32_data(&[1.0]);
            builder.add_group(group.finish());
        }
        for (part, names) in names.chunks(100).enumerate() {
            builder.set_attr(&format!("layer_names{part}"), AttrValue::AsciiStringArray(names.to_vec()));
        }
        let read = Arc::new(AtomicU64::new(0));
        let source = Counted { bytes: builder.finish().unwrap(), read: read.clone() };
        let file = hdf5::read(&File::from_source(source).unwrap(), Some(Config::default())).unwrap();
        assert_eq!(file.tensors.len(), layers);
        read.load(Ordering::Relaxed)
    }

    #[test]
    fn reading_grows_with_the_layers_and_not_with_their_square() {
        let [few, many] = [100, 800].map(read_of);
        assert!(many < 10 * few, "{few} bytes for 100 layers, {many} for 800");
    }
}
