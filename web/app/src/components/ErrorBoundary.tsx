import { Component, type ReactNode } from 'react';
import { Failure } from './Failure';
import { Page } from './Page';

type Props = {
  children: ReactNode;
  /** A new value, such as a new address, gives the children another chance. */ resetKey: string;
};
type State = { error: unknown; resetKey: string };

const NONE = Symbol('no error');

/** Catches what a page throws while rendering, and shows it instead of a blank screen. */
export class ErrorBoundary extends Component<Props, State> {
  override state: State = { error: NONE, resetKey: this.props.resetKey };

  static getDerivedStateFromError(error: unknown): Partial<State> {
    return { error };
  }

  static getDerivedStateFromProps(props: Props, state: State): Partial<State> | null {
    return props.resetKey === state.resetKey ? null : { error: NONE, resetKey: props.resetKey };
  }

  override render() {
    const { error } = this.state;
    if (error === NONE) return this.props.children;
    return (
      <Page title="This page could not be shown">
        <Failure error={error} onRetry={() => this.setState({ error: NONE })} />
      </Page>
    );
  }
}
