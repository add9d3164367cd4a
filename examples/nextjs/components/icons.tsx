const icon = (path: string) =>
  function Icon() {
    return (
      <svg viewBox="0 0 24 24" aria-hidden="true" className="icon">
        <path d={path} />
      </svg>
    );
  };

export const CheckIcon = icon("m5 12.5 4.5 4.5L19 7");
export const EditIcon = icon("M4 20h4L19 9l-4-4L4 16zM13 7l4 4");
export const DeleteIcon = icon("M5 7h14M10 7V4h4v3M7 7l1 13h8l1-13M10.5 11v5M13.5 11v5");
export const CloseIcon = icon("m7 7 10 10M17 7 7 17");
export const SearchIcon = icon("M11 18a7 7 0 1 1 0-14 7 7 0 0 1 0 14zM16 16l4.5 4.5");
