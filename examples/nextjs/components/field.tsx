import { useId, type InputHTMLAttributes, type TextareaHTMLAttributes } from "react";

type Props = { label: string; error?: string; hint?: string } & (
  | ({ multiline: true } & TextareaHTMLAttributes<HTMLTextAreaElement>)
  | ({ multiline?: false } & InputHTMLAttributes<HTMLInputElement>)
);

/** An input with its label, and the error beside it that a screen reader reads with it. */
export function Field({ label, error, hint, ...rest }: Props) {
  const id = useId();
  const described = {
    id,
    "aria-invalid": error ? true : undefined,
    "aria-describedby": error ? `${id}-error` : hint ? `${id}-hint` : undefined,
  };
  const { multiline, ...props } = rest;
  return (
    <div className="field">
      <label htmlFor={id}>{label}</label>
      {multiline ? (
        <textarea {...(props as TextareaHTMLAttributes<HTMLTextAreaElement>)} {...described} />
      ) : (
        <input {...(props as InputHTMLAttributes<HTMLInputElement>)} {...described} />
      )}
      {error ? (
        <p className="field-error" id={`${id}-error`}>
          {error}
        </p>
      ) : (
        hint && (
          <p className="hint" id={`${id}-hint`}>
            {hint}
          </p>
        )
      )}
    </div>
  );
}

type SelectProps = { label: string; name: string; options: Record<string, string>; value: string };

export function Select({ label, name, options, value }: SelectProps) {
  const id = useId();
  return (
    <div className="field">
      <label htmlFor={id}>{label}</label>
      <select id={id} name={name} defaultValue={value}>
        {Object.entries(options).map(([option, text]) => (
          <option key={option} value={option}>
            {text}
          </option>
        ))}
      </select>
    </div>
  );
}
