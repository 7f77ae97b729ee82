//! Objects, their history and who waits for it.
//!
//! One revision counter for everything, as in etcd; per kind a map of objects and a bounded log of
//! changes. Watches hold no buffer of their own: each is a cursor into its kind's log, woken by a
//! `tokio::sync::watch` channel. So memory is bounded by the log alone, each change is serialised
//! once however many watch it, and a watch that falls behind the log simply ends.
//!
//! ```text
//! put ─▶ revision += 1 ─▶ Table.objects[key] = Stored ─▶ Table.log.push(Change) ─▶ wake
//!                                                              ▲
//!                           watch: cursor ──── changes_since ──┘
//! ```
//!
//! Writes are compare-and-swap on an object's revision: rules run on a snapshot, outside the lock,
//! and a writer that lost the race starts over.

use std::collections::{BTreeMap, HashMap, VecDeque};
use std::ops::Bound;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use bytes::Bytes;
use serde_json::Value;
use tokio::sync::watch;

use crate::kinds::{KINDS, Kind};
use crate::object::metadata_mut;
use crate::versions;

/// Where an object of a kind is found; the namespace is empty for cluster-scoped kinds.
#[derive(Clone, Debug, Eq, Hash, Ord, PartialEq, PartialOrd)]
pub(crate) struct Key {
    pub(crate) namespace: String,
    pub(crate) name: String,
}

impl Key {
    pub(crate) fn new(namespace: &str, name: &str) -> Self {
        Self {
            namespace: namespace.to_owned(),
            name: name.to_owned(),
        }
    }
}

/// An object as it is at one revision.
#[derive(Debug)]
pub(crate) struct Stored {
    pub(crate) key: Key,
    pub(crate) revision: u64,
    pub(crate) value: Value,
    /// The object as JSON in its table's own version: `kind` and `apiVersion` first, so that lists
    /// can leave them out.
    bytes: Bytes,
    /// Where in `bytes` the fields after `apiVersion` begin.
    fields: usize,
}

impl Stored {
    /// The object as JSON, as this version of its resource shows it.
    pub(crate) fn bytes(&self, kind: &Kind) -> Bytes {
        if kind.is_native() {
            return self.bytes.clone();
        }
        let mut bytes = Vec::with_capacity(self.size() + 64);
        append_object(kind, &self.value, &mut bytes);
        bytes.into()
    }

    /// The object as an item of a typed list: without `kind` and `apiVersion`, as Go encodes it.
    pub(crate) fn append_item(&self, kind: &Kind, out: &mut Vec<u8>) {
        if kind.is_native() {
            out.push(b'{');
            out.extend_from_slice(self.bytes.get(self.fields..).unwrap_or_default());
            return;
        }
        let mut bytes = Vec::with_capacity(self.size() + 64);
        let fields = append_object(kind, &self.value, &mut bytes);
        out.push(b'{');
        out.extend_from_slice(bytes.get(fields..).unwrap_or_default());
    }

    /// About how many bytes it takes as JSON.
    pub(crate) fn size(&self) -> usize {
        self.bytes.len()
    }
}

/// What happened to an object.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(crate) enum ChangeKind {
    Added,
    Deleted,
    Modified,
}

impl ChangeKind {
    pub(crate) fn event_type(self) -> &'static str {
        match self {
            Self::Added => "ADDED",
            Self::Deleted => "DELETED",
            Self::Modified => "MODIFIED",
        }
    }
}

/// One entry of a kind's log.
#[derive(Debug)]
pub(crate) struct Change {
    pub(crate) kind: ChangeKind,
    /// The object after the change; for a deletion its last state, at the deletion's revision.
    pub(crate) object: Arc<Stored>,
    /// The object before the change.
    pub(crate) previous: Option<Arc<Stored>>,
    /// The change as a line of a watch in the table's own version: made once, shared by all who
    /// see it as it is.
    pub(crate) frame: Bytes,
}

impl Change {
    pub(crate) fn revision(&self) -> u64 {
        self.object.revision
    }
}

/// What a writer expects to replace.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Expect {
    Absent,
    Revision(u64),
}

/// Someone else wrote first.
#[derive(Debug)]
pub(crate) struct Stale;

/// The history needed is gone.
#[derive(Debug)]
pub(crate) struct Compacted {
    /// The oldest resource version that can still be watched from.
    pub(crate) oldest: u64,
}

/// The changes a watch has not seen, and where that takes it.
#[derive(Debug)]
pub(crate) struct Fresh {
    pub(crate) changes: Vec<Arc<Change>>,
    pub(crate) cursor: u64,
}

/// A page of objects at one revision.
#[derive(Debug)]
pub(crate) struct Page {
    pub(crate) revision: u64,
    pub(crate) objects: Vec<Arc<Stored>>,
    /// Objects after this page; `None` when there are none.
    pub(crate) remaining: Option<u64>,
}

/// Which objects of a kind are wanted.
pub(crate) trait Filter {
    /// The one namespace wanted, or empty for all.
    fn namespace(&self) -> &str;
    fn matches(&self, object: &Stored) -> bool;
}

/// All objects of all kinds.
#[derive(Debug)]
pub(crate) struct Store {
    state: Mutex<State>,
    wake: Vec<watch::Sender<u64>>,
    history: usize,
}

#[derive(Debug)]
struct State {
    revision: u64,
    tables: Vec<Table>,
}

#[derive(Debug, Default)]
struct Table {
    objects: BTreeMap<Key, Arc<Stored>>,
    log: VecDeque<Arc<Change>>,
    /// How many bytes the objects in the log have, as JSON.
    logged: usize,
    /// The newest change that fell out of the log: a cursor before it has missed something.
    dropped: u64,
    /// New watches may not begin before this resource version.
    floor: u64,
}

impl Store {
    /// A store that keeps `history` changes of each kind.
    pub(crate) fn new(history: usize) -> Self {
        let tables = KINDS.iter().map(|_| Table::default()).collect();
        Self {
            // etcd's first revision is 1 too.
            state: Mutex::new(State {
                revision: 1,
                tables,
            }),
            wake: KINDS.iter().map(|_| watch::Sender::new(0)).collect(),
            history,
        }
    }

    pub(crate) fn revision(&self) -> u64 {
        self.lock().revision
    }

    pub(crate) fn get(&self, kind: &Kind, key: &Key) -> Option<Arc<Stored>> {
        self.lock().table(kind)?.objects.get(key).cloned()
    }

    /// Writes an object if what it replaces is still as expected.
    pub(crate) fn put(
        &self,
        kind: &Kind,
        key: Key,
        value: Value,
        expect: Expect,
    ) -> Result<Arc<Stored>, Stale> {
        let mut state = self.lock();
        let revision = state.revision + 1;
        let table = state.table_mut(kind).ok_or(Stale)?;
        let previous = table.objects.get(&key).cloned();
        let change = match (expect, &previous) {
            (Expect::Absent, None) => ChangeKind::Added,
            (Expect::Revision(expected), Some(previous)) if previous.revision == expected => {
                ChangeKind::Modified
            }
            _ => return Err(Stale),
        };
        let (object, frame) = encode(kind, key.clone(), value, revision, change);
        table.objects.insert(key, object.clone());
        let change = Change {
            kind: change,
            object: object.clone(),
            previous,
            frame,
        };
        table.record(change, self.history);
        state.revision = revision;
        drop(state);
        self.wake(kind, revision);
        Ok(object)
    }

    /// Removes an object if it is still at this revision. `value` is the state it leaves with.
    pub(crate) fn remove(
        &self,
        kind: &Kind,
        key: &Key,
        value: Value,
        expected: u64,
    ) -> Result<Arc<Stored>, Stale> {
        let mut state = self.lock();
        let revision = state.revision + 1;
        let table = state.table_mut(kind).ok_or(Stale)?;
        let previous = match table.objects.get(key) {
            Some(previous) if previous.revision == expected => previous.clone(),
            _ => return Err(Stale),
        };
        table.objects.remove(key);
        let (object, frame) = encode(kind, key.clone(), value, revision, ChangeKind::Deleted);
        let change = Change {
            kind: ChangeKind::Deleted,
            object: object.clone(),
            previous: Some(previous),
            frame,
        };
        table.record(change, self.history);
        state.revision = revision;
        drop(state);
        self.wake(kind, revision);
        Ok(object)
    }

    /// An object that is not stored, at a revision at which another state of it was.
    pub(crate) fn as_of(&self, kind: &Kind, key: Key, value: Value, revision: u64) -> Arc<Stored> {
        encode(kind, key, value, revision, ChangeKind::Modified).0
    }

    /// The object as it would be stored, for dry runs. An existing object keeps its version.
    pub(crate) fn unstored(&self, kind: &Kind, key: Key, value: Value) -> Arc<Stored> {
        let revision = self.get(kind, &key).map_or(0, |object| object.revision);
        encode(kind, key, value, revision, ChangeKind::Modified).0
    }

    /// Objects that match, in key order, after `start`, as they were at `revision` (or are now).
    ///
    /// An older revision is rebuilt by undoing the changes logged since.
    pub(crate) fn list(
        &self,
        kind: &Kind,
        filter: &dyn Filter,
        at: Option<u64>,
        start: Option<&Key>,
        limit: usize,
    ) -> Result<Page, Compacted> {
        let state = self.lock();
        let current = state.revision;
        let Some(table) = state.table(kind) else {
            return Ok(Page {
                revision: current,
                objects: Vec::new(),
                remaining: None,
            });
        };
        let revision = at.unwrap_or(current);
        let namespace = filter.namespace();
        let begin = match start {
            Some(start) => Bound::Excluded(start.clone()),
            None => Bound::Included(Key::new(namespace, "")),
        };
        let in_range = |key: &Key| namespace.is_empty() || key.namespace == namespace;
        let undone = if revision < current {
            Some(table.rebuild(revision)?)
        } else {
            None
        };
        let objects = undone.as_ref().unwrap_or(&table.objects);
        let mut candidates = objects
            .range((begin, Bound::Unbounded))
            .take_while(|(key, _)| in_range(key))
            .map(|(_, object)| object)
            .filter(|object| filter.matches(object));
        let page: Vec<_> = candidates.by_ref().take(limit).cloned().collect();
        let remaining = candidates.count() as u64;
        Ok(Page {
            revision,
            objects: page,
            remaining: (remaining > 0).then_some(remaining),
        })
    }

    /// Whether a new watch may begin at this resource version.
    pub(crate) fn check_start(&self, kind: &Kind, revision: u64) -> Result<(), Compacted> {
        let state = self.lock();
        let oldest = state
            .table(kind)
            .map_or(0, |table| table.floor.max(table.dropped));
        if revision < oldest {
            return Err(Compacted { oldest });
        }
        Ok(())
    }

    /// The changes of a kind after `cursor`.
    pub(crate) fn changes_since(&self, kind: &Kind, cursor: u64) -> Result<Fresh, Compacted> {
        let state = self.lock();
        let Some(table) = state.table(kind) else {
            return Ok(Fresh {
                changes: Vec::new(),
                cursor,
            });
        };
        if cursor < table.dropped {
            return Err(Compacted {
                oldest: table.dropped,
            });
        }
        let first = table
            .log
            .partition_point(|change| change.revision() <= cursor);
        Ok(Fresh {
            changes: table.log.range(first..).cloned().collect(),
            cursor: cursor.max(state.revision),
        })
    }

    /// A receiver that changes whenever the kind does.
    pub(crate) fn subscribe(&self, kind: &Kind) -> Option<watch::Receiver<u64>> {
        self.wake.get(kind.table).map(watch::Sender::subscribe)
    }

    /// Forgets all history: a watch or continued list from before now answers `410 Expired`.
    /// Watches that are open and have seen everything go on.
    pub(crate) fn compact(&self) {
        let mut state = self.lock();
        state.revision += 1;
        let revision = state.revision;
        for table in &mut state.tables {
            if let Some(last) = table.log.back() {
                table.dropped = last.revision();
            }
            table.log.clear();
            table.logged = 0;
            table.floor = revision;
        }
    }

    fn wake(&self, kind: &Kind, revision: u64) {
        if let Some(sender) = self.wake.get(kind.table) {
            sender.send_replace(revision);
        }
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        // A panic cannot leave the state half-written in a way that later reads would trip over:
        // every write is one insert or remove and one push.
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl State {
    fn table(&self, kind: &Kind) -> Option<&Table> {
        self.tables.get(kind.table)
    }

    fn table_mut(&mut self, kind: &Kind) -> Option<&mut Table> {
        self.tables.get_mut(kind.table)
    }
}

impl Table {
    /// Adds a change, and forgets the oldest where there are too many or they are too large.
    fn record(&mut self, change: Change, history: usize) {
        self.logged += change.object.size();
        self.log.push_back(Arc::new(change));
        while self.log.len() > history || (self.logged > HISTORY_BYTES && self.log.len() > 1) {
            let Some(oldest) = self.log.pop_front() else {
                break;
            };
            self.logged = self.logged.saturating_sub(oldest.object.size());
            self.dropped = oldest.revision();
        }
    }

    fn rebuild(&self, revision: u64) -> Result<BTreeMap<Key, Arc<Stored>>, Compacted> {
        let oldest = self.floor.max(self.dropped);
        if revision < oldest {
            return Err(Compacted { oldest });
        }
        let mut objects = self.objects.clone();
        let mut undone: HashMap<&Key, ()> = HashMap::new();
        let first = self
            .log
            .partition_point(|change| change.revision() <= revision);
        for change in self.log.range(first..) {
            let key = &change.object.key;
            // The first change after the revision tells what was there; later ones do not matter.
            if undone.insert(key, ()).is_some() {
                continue;
            }
            match &change.previous {
                Some(previous) => objects.insert(key.clone(), previous.clone()),
                None => objects.remove(key),
            };
        }
        Ok(objects)
    }
}

/// What the changes of one kind may hold in all: some 10,000 pods, or twenty of the largest objects.
const HISTORY_BYTES: usize = 64 * 1024 * 1024;

/// Serialises an object once, as a line of a watch; the object alone is a slice of it.
fn encode(
    kind: &Kind,
    key: Key,
    mut value: Value,
    revision: u64,
    change: ChangeKind,
) -> (Arc<Stored>, Bytes) {
    let metadata = metadata_mut(&mut value);
    if revision == 0 {
        // Never stored.
        metadata.remove("resourceVersion");
    } else {
        metadata.insert("resourceVersion".into(), revision.to_string().into());
    }
    let mut line = Vec::with_capacity(1024);
    line.extend_from_slice(b"{\"type\":\"");
    line.extend_from_slice(change.event_type().as_bytes());
    line.extend_from_slice(b"\",\"object\":");
    let begin = line.len();
    let native = KINDS.get(kind.table).unwrap_or(kind);
    let fields = begin + append_object(native, &value, &mut line);
    let end = line.len();
    line.extend_from_slice(b"}\n");
    let frame = Bytes::from(line);
    let stored = Stored {
        key,
        revision,
        value,
        bytes: frame.slice(begin..end),
        fields: fields - begin,
    };
    (Arc::new(stored), frame)
}

/// Appends an object as this version shows it, with `kind` and `apiVersion` first; returns the
/// length of that beginning, comma included.
pub(crate) fn append_object(kind: &Kind, value: &Value, out: &mut Vec<u8>) -> usize {
    let begin = out.len();
    out.extend_from_slice(b"{\"kind\":\"");
    out.extend_from_slice(kind.kind.as_bytes());
    out.extend_from_slice(b"\",\"apiVersion\":\"");
    out.extend_from_slice(kind.api_version().as_bytes());
    out.extend_from_slice(b"\",");
    let head = out.len() - begin;
    let unknown = versions::unknown_to(kind);
    append_fields(value, &["kind", "apiVersion"], out, |field, value, out| {
        if field == "spec" && !unknown.is_empty() && value.is_object() {
            out.push(b'{');
            append_fields(value, unknown, out, |_, value, out| append_json(value, out));
            out.push(b'}');
        } else {
            append_json(value, out);
        }
    });
    out.push(b'}');
    head
}

/// Appends the fields of an object but for some, each value as `append` writes it.
fn append_fields(
    object: &Value,
    without: &[&str],
    out: &mut Vec<u8>,
    append: impl Fn(&str, &Value, &mut Vec<u8>),
) {
    let mut separator: &[u8] = b"";
    for (field, value) in object.as_object().into_iter().flatten() {
        if without.contains(&field.as_str()) {
            continue;
        }
        out.extend_from_slice(separator);
        separator = b",";
        append_json(field, out);
        out.push(b':');
        append(field, value, out);
    }
}

fn append_json(value: &(impl serde::Serialize + ?Sized), out: &mut Vec<u8>) {
    // Writing JSON values and strings into memory cannot fail.
    let written = serde_json::to_writer(&mut *out, value);
    debug_assert!(written.is_ok(), "JSON in memory always serialises");
}
