//! A value that tasks wait for. They are woken in the order in which they began to wait, so that a run can be repeated: the
//! watch of Tokio draws that order.

use std::sync::Arc;

use parking_lot::Mutex;
use tokio::sync::Notify;

/// See the module. A clone is the same value.
#[derive(Clone, Debug, Default)]
pub struct Watch<T>(Arc<Watched<T>>);

#[derive(Debug, Default)]
struct Watched<T> {
    value: Mutex<T>,
    changed: Notify,
}

impl<T: Copy> Watch<T> {
    /// A value to begin with.
    pub fn new(value: T) -> Self {
        Self(Arc::new(Watched {
            value: Mutex::new(value),
            changed: Notify::new(),
        }))
    }

    /// The value now.
    #[must_use]
    pub fn get(&self) -> T {
        *self.0.value.lock()
    }

    /// Changes the value. Whoever waits looks at it if `modify` says that it has changed, which is returned.
    pub fn modify(&self, modify: impl FnOnce(&mut T) -> bool) -> bool {
        let is_changed = modify(&mut self.0.value.lock());
        if is_changed {
            self.0.changed.notify_waiters();
        }
        is_changed
    }

    /// Waits until the value is as asked for; how it was then.
    pub async fn wait_for(&self, is_right: impl Fn(&T) -> bool) -> T {
        loop {
            // A change after this is noticed, also one before the value is looked at.
            let changed = self.0.changed.notified();
            let value = self.get();
            if is_right(&value) {
                return value;
            }
            changed.await;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn a_value_that_is_right_is_not_waited_for() {
        assert_eq!(Watch::new(7).wait_for(|value| *value == 7).await, 7);
    }

    #[tokio::test]
    async fn waiting_tasks_are_woken_in_the_order_in_which_they_began_to_wait() {
        let watch = Watch::new(0);
        let (begun, order) = (Watch::new(0), Arc::new(Mutex::new(Vec::new())));
        let waiting: Vec<_> = (0..100)
            .map(|number| {
                let (watch, begun, order) = (watch.clone(), begun.clone(), Arc::clone(&order));
                tokio::spawn(async move {
                    begun.modify(|begun| {
                        *begun += 1;
                        true
                    });
                    watch.wait_for(|value| *value > 0).await;
                    order.lock().push(number);
                })
            })
            .collect();
        begun.wait_for(|begun| *begun == 100).await;
        assert!(!watch.modify(|_| false));
        assert!(watch.modify(|value| {
            *value = 1;
            true
        }));
        for task in waiting {
            task.await.expect("it waits and ends");
        }
        assert_eq!(*order.lock(), (0..100).collect::<Vec<_>>());
    }
}
