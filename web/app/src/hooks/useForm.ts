import { useRef, useState, type ChangeEvent, type SubmitEvent } from 'react';
import { ApiError, toApiError } from '@/api/problem';

export type Validation<Values> = { readonly [Name in keyof Values]?: string | undefined };

export type FieldProps = {
  name: string;
  value: string;
  error: string | undefined;
  onChange: (event: ChangeEvent<HTMLInputElement | HTMLSelectElement>) => void;
};

type Options<Values extends Record<string, string>> = {
  initial: Values;
  /** Messages for the fields that are not acceptable yet. */
  validate: (values: Values) => Validation<Values>;
  submit: (values: Values) => Promise<void>;
};

/**
 * State of one form. Fields are checked when it is sent, not while someone types; the first wrong field gets the
 * focus. Messages of the API for a field are shown at that field, everything else as the form's `failure`.
 */
export function useForm<Values extends Record<string, string>>({ initial, validate, submit }: Options<Values>) {
  const [values, setValues] = useState(initial);
  const [errors, setErrors] = useState<Validation<Values>>({});
  const [failure, setFailure] = useState<Error | null>(null);
  const [submitting, setSubmitting] = useState(false);
  const inFlight = useRef(false);

  const show = (form: HTMLFormElement, found: Validation<Values>) => {
    setErrors(found);
    const first = Object.keys(values).find((name) => found[name] !== undefined);
    const control = first === undefined ? null : form.elements.namedItem(first);
    if (control instanceof HTMLElement) control.focus();
  };

  const onSubmit = async (event: SubmitEvent<HTMLFormElement>) => {
    event.preventDefault();
    if (inFlight.current) return;
    const form = event.currentTarget;
    const found = validate(values);
    setFailure(null);
    show(form, found);
    if (Object.values(found).some((message) => message !== undefined)) return;
    inFlight.current = true;
    setSubmitting(true);
    try {
      await submit(values);
    } catch (error) {
      const known = error instanceof ApiError ? fieldErrorsOf(error, values) : null;
      if (known) show(form, known);
      else setFailure(error instanceof Error ? error : toApiError(error));
    } finally {
      inFlight.current = false;
      setSubmitting(false);
    }
  };

  const field = (name: keyof Values & string): FieldProps => ({
    name,
    value: values[name] ?? '',
    error: errors[name],
    onChange: (event) => {
      const value = event.target.value;
      setValues((before) => ({ ...before, [name]: value }));
      setErrors((before) => ({ ...before, [name]: undefined }));
    },
  });

  return { values, field, onSubmit, submitting, failure };
}

/** The API's messages for this form's fields; `null` if it complains about anything that has no field here. */
function fieldErrorsOf<Values extends Record<string, string>>(
  error: ApiError,
  values: Values,
): Validation<Values> | null {
  const names = Object.keys(error.fieldErrors);
  if (names.length === 0 || names.some((name) => !(name in values))) return null;
  return error.fieldErrors;
}
