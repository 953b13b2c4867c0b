use std::cell::RefCell;

use clap::Parser as _;
use longshore_trust::log::{ENTRY_VERSION, origin};
use longshore_trust::{Digest, FleetId, SigningKey, UnixMs};

use super::*;
use crate::context::GlobalArgs;

/// A server whose log grows, and is signed, between any two questions.
struct Busy {
    key: SigningKey,
    public: LogKey,
    log: RefCell<(Vec<Entry>, Frontier, Vec<String>)>,
}
impl Busy {
    fn new() -> Self {
        let key = SigningKey::from_seed(&[5; 32]);
        let public = LogKey::new(&origin(&FleetId::new("harbour").unwrap()), key.public()).unwrap();
        Self { key, public, log: RefCell::default() }
    }
    fn grow(&self) {
        let mut log = self.log.borrow_mut();
        let (entries, tree, notes) = &mut *log;
        let (index, text) = (tree.size(), String::new);
        let time = UnixMs(1);
        let entry = Entry {
            action: text(),
            actor: text(),
            detail: text(),
            index,
            object: text(),
            time,
            v: ENTRY_VERSION,
        };
        tree.append(entry.leaf());
        entries.push(entry);
        let (size, root) = (tree.size(), tree.root());
        let c = Checkpoint { origin: self.public.name().into(), size, root, epoch: 1 };
        notes.push(c.sign(&self.key).to_note(&self.public));
    }
}
impl Source for Busy {
    fn checkpoint(&self) -> Result<Vec<u8>, Failure> {
        self.grow();
        Ok(self.log.borrow().2.last().unwrap().clone().into_bytes())
    }
    fn checkpoints(&self) -> Result<Vec<String>, Failure> {
        self.grow();
        Ok(self.log.borrow().2.clone())
    }
    fn entries(&self, from: u64, limit: u32) -> Result<Vec<Entry>, Failure> {
        self.grow();
        let from = usize::try_from(from).unwrap();
        Ok(self.log.borrow().0.iter().skip(from).take(limit as usize).cloned().collect())
    }
    fn consistency(&self, _: u64, _: u64) -> Result<Option<Vec<Digest>>, Failure> {
        Ok(None)
    }
    fn claimed_key(&self) -> Result<String, Failure> {
        self.grow();
        Ok(self.public.to_string())
    }
}

#[derive(clap::Parser)]
struct Line {
    #[command(flatten)]
    global: GlobalArgs,
}

#[test]
fn a_log_that_is_signed_while_it_is_checked_holds() {
    let dir = tempfile::tempdir().unwrap();
    let line = Line::parse_from(["x", "--json", "--trust", dir.path().to_str().unwrap()]);
    let (context, busy) = (Context::new(line.global), Busy::new());
    for checked in [2, 3] {
        let report = verify(&context, &Args::default(), &busy).map_err(|e| e.message).unwrap();
        assert!(report.checkpoints >= checked, "{}", report.checkpoints);
    }
}
