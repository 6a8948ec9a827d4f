//! What changes and by which rules. One module is one aggregate: invariants, events, commands, refusals, state,
//! `decide`, `apply` and their stories.

pub(crate) mod cluster;
pub(crate) mod cluster_name;
pub(crate) mod join_token;
pub(crate) mod member;
pub(crate) mod node;
pub(crate) mod operation;

#[cfg(test)]
pub(crate) mod story {
    //! `given(events).when(command)` for any aggregate.

    use craton_platform_kernel::Aggregate;

    pub(crate) fn state<A: Aggregate>(given: &[A::Event]) -> A::State {
        given.iter().fold(A::State::default(), A::apply)
    }

    pub(crate) fn decide<A: Aggregate>(given: &[A::Event], when: A::Command) -> Result<Vec<A::Event>, A::Refusal> {
        A::decide(&state::<A>(given), when)
    }
}
