//! Work shared by the threads of the query pool.

use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::sync::{Mutex, PoisonError};

use rayon::ThreadPool;

use crate::error::QueryError;
use crate::stats::Counters;

/// Runs `work` on every item with its number, first items first, on all threads of the pool; each thread that takes part
/// has a state of its own, and counts its time in `counters`. Answers the states. After the first error no further item is
/// begun.
///
/// A single item is worked on by the calling thread: a small query pays for no hand-over.
///
/// # Errors
/// The first that `work` answered.
pub(crate) fn for_each<T: Sync, S: Send>(
    (pool, counters): (&ThreadPool, &Counters),
    items: &[T],
    state: impl Fn() -> S + Sync,
    work: impl Fn(&mut S, usize, &T) -> Result<(), QueryError> + Sync,
) -> Result<Vec<S>, QueryError> {
    if items.len() <= 1 {
        return in_turn(items, state, work);
    }
    let next = AtomicUsize::new(0);
    let failed = AtomicBool::new(false);
    let outcome: Mutex<(Vec<S>, Option<QueryError>)> = Mutex::new((Vec::new(), None));
    let run = || {
        let mut mine = None;
        while !failed.load(Ordering::Relaxed) {
            let number = next.fetch_add(1, Ordering::Relaxed);
            let Some(item) = items.get(number) else { break };
            if let Err(error) = work(mine.get_or_insert_with(&state), number, item) {
                failed.store(true, Ordering::Relaxed);
                outcome.lock().unwrap_or_else(PoisonError::into_inner).1.get_or_insert(error);
                return;
            }
        }
        outcome.lock().unwrap_or_else(PoisonError::into_inner).0.extend(mine);
    };
    pool.in_place_scope(|scope| {
        for _ in 0..pool.current_num_threads().min(items.len()) {
            scope.spawn(|_| counters.busy(run));
        }
    });
    let (states, error) = outcome.into_inner().unwrap_or_else(PoisonError::into_inner);
    error.map_or(Ok(states), Err)
}

/// [`for_each`] by the calling thread alone, for work that is done before other threads have woken up.
///
/// # Errors
/// The first that `work` answered.
pub(crate) fn in_turn<T, S>(
    items: &[T],
    state: impl Fn() -> S,
    work: impl Fn(&mut S, usize, &T) -> Result<(), QueryError>,
) -> Result<Vec<S>, QueryError> {
    if items.is_empty() {
        return Ok(Vec::new());
    }
    let mut state = state();
    items.iter().enumerate().try_for_each(|(number, item)| work(&mut state, number, item))?;
    Ok(vec![state])
}

#[cfg(test)]
#[allow(clippy::unwrap_used, reason = "tests")]
mod tests {
    use super::*;

    #[test]
    fn every_item_is_worked_on_once_and_an_error_ends_it() {
        let pool = rayon::ThreadPoolBuilder::new().num_threads(3).build().unwrap();
        let counters = Counters::default();
        for count in [0, 1, 2, 100] {
            let items: Vec<usize> = (0..count).collect();
            let add = |sum: &mut usize, number: usize, item: &usize| {
                assert_eq!(number, *item);
                *sum += item;
                Ok(())
            };
            let sums = for_each((&pool, &counters), &items, || 0, add).unwrap();
            assert_eq!(sums.iter().sum::<usize>(), items.iter().sum::<usize>());
            let fail =
                |(): &mut (), _: usize, item: &usize| if *item == 1 { Err(QueryError::Cancelled) } else { Ok(()) };
            assert_eq!(for_each((&pool, &counters), &items, || (), fail).is_err(), count > 1);
        }
    }
}
