//! Recordings: the messages of one side of a connection, and what they say.

use std::path::PathBuf;

use bytes::Bytes;
use serde_json::Value as Json;

/// A recording with its description.
pub(crate) struct Recording {
    pub(crate) name: String,
    pub(crate) messages: Vec<Bytes>,
    pub(crate) json: Json,
}

fn folder() -> PathBuf {
    replproto_tests::golden_folder("captures", "REPLPROTO_CAPTURES")
}

impl Recording {
    /// All recordings whose names begin like this, in the order of their names.
    pub(crate) fn all(prefix: &str) -> Vec<Self> {
        let folder = folder();
        let entries = std::fs::read_dir(&folder)
            .unwrap_or_else(|error| panic!("{}: {error}", folder.display()));
        let mut names: Vec<String> = entries
            .filter_map(|entry| entry.ok()?.file_name().into_string().ok())
            .filter_map(|name| name.strip_suffix(".bin").map(Into::into))
            .filter(|name: &String| name.starts_with(prefix))
            .collect();
        names.sort();
        assert!(
            !names.is_empty(),
            "no recordings {prefix}* in {}",
            folder.display()
        );
        names.into_iter().map(Self::read).collect()
    }

    fn read(name: String) -> Self {
        let read = |ending: &str| {
            let path = folder().join(format!("{name}.{ending}"));
            std::fs::read(&path).unwrap_or_else(|error| panic!("{}: {error}", path.display()))
        };
        let mut bytes = Bytes::from(read("bin"));
        let mut messages = Vec::new();
        while !bytes.is_empty() {
            let length = bytes.split_to(4);
            let length = u32::from_le_bytes(length[..].try_into().expect("four bytes"));
            messages.push(bytes.split_to(length as usize));
        }
        let json: Json = serde_json::from_slice(&read("json")).expect("JSON");
        let described = json["messages"].as_array().expect("messages");
        assert_eq!(described.len(), messages.len(), "{name}");
        for (message, description) in messages.iter().zip(described) {
            assert_eq!(description["bytes"], message.len(), "{name}");
        }
        Self {
            name,
            messages,
            json,
        }
    }

    /// Whether it was recorded from the older version.
    pub(crate) fn is_old(&self) -> bool {
        self.json["version"]
            .as_str()
            .expect("version")
            .starts_with('A')
    }

    /// What the messages say.
    pub(crate) fn described(&self) -> impl Iterator<Item = &Json> {
        self.json["messages"].as_array().expect("messages").iter()
    }
}
