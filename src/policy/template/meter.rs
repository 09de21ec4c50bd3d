//! What a rendering may cost besides its steps. An operator or a filter is one step, whatever it goes over: a text of a
//! mebibyte, or a list of a hundred thousand. So each rendering has a *budget* of bytes, and pays for what it looks at.
//!
//! Paid is for every look at a variable or into `data`, by the length of what is found there: an operator works on nothing
//! that has not been looked at just before, so it is paid for too. Lists and objects are handed out closed ([`Metered`]),
//! and pay as they are gone over, whoever does that: a loop, `in`, `==`, a filter of the engine's. Filters pay for the
//! texts that they are given, and for what they make; of the values that they make of a text each is a look. The one thing
//! that is looked at once and used often is the variable of a loop around another: a long text in it is paid for as often
//! as it may be used.
//!
//! Where the budget is spent, nothing more is found anywhere, and the rendering fails.

use std::{
    fmt,
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering},
    },
};

use minijinja::{
    Error, ErrorKind, State, Value,
    value::{DynObject, Enumerator, Object, ObjectRepr},
};

/// Bytes that a rendering may look at besides [`PER_BYTE`] for each of the payload: a tenth of a second for most operators
/// and filters, four for the worst (`cargo bench -- template`).
pub(super) const BUDGET: u64 = 256 << 20;
const PER_BYTE: u64 = 16;
/// What a look costs at least: it takes as long as some hundred bytes do.
const LOOK: u64 = 256;
/// A text that is longer costs more in the variable of a loop around another.
const LONG: usize = 4 << 10;
const USES: u64 = 1 << 10;
/// The name under which a filter finds the budget; no template can say it.
const NAME: &str = "\0";

/// What is left for a rendering.
#[derive(Debug)]
pub(super) struct Budget {
    left: AtomicU64,
    /// A loop is in another.
    nested: bool,
}

impl Budget {
    pub(super) fn new(bytes: u64, payload: usize, nested: bool) -> Arc<Self> {
        let payload = u64::try_from(payload).unwrap_or(u64::MAX);
        let left = AtomicU64::new(bytes.saturating_add(payload.saturating_mul(PER_BYTE)));
        Arc::new(Self { left, nested })
    }

    /// Whether there is nothing left.
    pub(super) fn is_spent(&self) -> bool {
        self.left.load(Ordering::Relaxed) == 0
    }

    /// Pays for a look at `bytes`, so many times; says whether there was enough.
    fn pay(&self, bytes: usize, times: u64) -> bool {
        let cost = u64::try_from(bytes).unwrap_or(u64::MAX).saturating_mul(times).saturating_add(LOOK);
        let left = self.left.load(Ordering::Relaxed);
        // One thread renders: nobody pays in between.
        self.left.store(left.saturating_sub(cost), Ordering::Relaxed);
        left > cost
    }

    /// What a look at `value` gives.
    fn look(self: &Arc<Self>, value: Value, times: u64) -> Option<Value> {
        let paid = self.pay(length(&value), times);
        paid.then(|| self.close(value))
    }

    /// Has a list or an object pay as it is gone over.
    fn close(self: &Arc<Self>, value: Value) -> Value {
        match value.as_object() {
            Some(inner) if !inner.is::<Metered>() && inner.repr() != ObjectRepr::Plain => {
                Value::from_object(Metered { inner: inner.clone(), budget: Arc::clone(self) })
            }
            _ => value,
        }
    }
}

/// Bytes of a text; a list or an object pays later.
fn length(value: &Value) -> usize {
    value.as_str().map_or(0, str::len)
}

/// The variables of a rendering.
pub(super) struct Scope {
    values: Vec<(&'static str, Value)>,
    budget: Arc<Budget>,
}

impl Scope {
    pub(super) fn new(values: Vec<(&'static str, Value)>, budget: Arc<Budget>) -> Self {
        Self { values, budget }
    }
}

impl fmt::Debug for Scope {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Scope").finish_non_exhaustive()
    }
}

impl Object for Scope {
    fn get_value(self: &Arc<Self>, key: &Value) -> Option<Value> {
        self.get_value_by_str(key.as_str()?)
    }

    fn get_value_by_str(self: &Arc<Self>, key: &str) -> Option<Value> {
        if key == NAME {
            return Some(Value::from_object(Handle(Arc::clone(&self.budget))));
        }
        let (_, value) = self.values.iter().find(|(name, _)| *name == key)?;
        self.budget.look(value.clone(), 1)
    }
}

/// The way to the budget.
#[derive(Debug)]
struct Handle(Arc<Budget>);

impl Object for Handle {
    fn repr(self: &Arc<Self>) -> ObjectRepr {
        ObjectRepr::Plain
    }
}

/// A list or an object that pays for each look into it.
struct Metered {
    inner: DynObject,
    budget: Arc<Budget>,
}

impl fmt::Debug for Metered {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Debug::fmt(&self.inner, f)
    }
}

impl Metered {
    /// How often what is found in it may be used at one look.
    fn uses(&self, value: &Value) -> u64 {
        let again = self.budget.nested && self.inner.repr() != ObjectRepr::Map && length(value) > LONG;
        if again { USES } else { 1 }
    }
}

impl Object for Metered {
    fn repr(self: &Arc<Self>) -> ObjectRepr {
        self.inner.repr()
    }

    fn get_value(self: &Arc<Self>, key: &Value) -> Option<Value> {
        let value = self.inner.get_value(key)?;
        let uses = self.uses(&value);
        self.budget.look(value, uses)
    }

    fn enumerate(self: &Arc<Self>) -> Enumerator {
        if self.budget.is_spent() {
            return Enumerator::Empty;
        }
        if self.inner.repr() == ObjectRepr::Seq
            && let Some(length) = self.inner.enumerator_len()
        {
            return Enumerator::Seq(length);
        }
        let Some(inner) = self.inner.try_iter() else { return Enumerator::NonEnumerable };
        let this = Arc::clone(self);
        Enumerator::Iter(Box::new(inner.map_while(move |value| {
            let uses = this.uses(&value);
            this.budget.look(value, uses)
        })))
    }

    fn enumerator_len(self: &Arc<Self>) -> Option<usize> {
        self.inner.enumerator_len()
    }

    fn is_true(self: &Arc<Self>) -> bool {
        self.inner.is_true()
    }
}

/// Calls a filter or a test: its texts, and the number of values that it makes of one, are paid for before, and what it
/// makes after it.
pub(super) fn call(
    function: &Value,
    state: &mut State<'_, '_>,
    args: &[Value],
    values: usize,
) -> Result<Value, Error> {
    let handle = state.lookup(NAME);
    let budget = handle.as_ref().and_then(|handle| handle.downcast_object_ref::<Handle>());
    let budget = Arc::clone(&budget.ok_or_else(spent)?.0);
    if !budget.pay(values, LOOK) || !args.iter().all(|value| budget.pay(length(value), 1)) {
        return Err(spent());
    }
    let value = function.call(state, args)?;
    budget.look(value, 1).ok_or_else(spent)
}

fn spent() -> Error {
    ErrorKind::OutOfFuel.into()
}
