// SPDX-License-Identifier: AGPL-3.0-or-later
// A field of text with suggestions below (ARIA's combobox pattern). Any text is legal; a suggestion saves typing.
import { useEffect, useId, useRef, useState } from "preact/hooks";
import { html } from "../lib/html.js";

const WAIT_MILLISECONDS = 120;

/**
 * `onPick(value)` is called with a suggestion, or with what was typed when the focus leaves or Enter is pressed.
 * `load(text, signal)` answers [{value, text, detail}]. `clear`: the field empties after a pick (for adding to a list).
 */
export function Combobox({ label, value = "", onPick, load, placeholder, clear = false, attributes = {}, autofocus = false, onBackspace, ...more }) {
  const id = useId();
  const input = useRef();
  const box = useRef();
  const asking = useRef({});
  const [text, setText] = useState(String(value));
  const [options, setOptions] = useState([]);
  const [open, setOpen] = useState(false);
  const [active, setActive] = useState(-1);

  useEffect(() => setText(String(value)), [value]);
  useEffect(() => {
    if (autofocus) input.current.focus();
    return () => clearTimeout(asking.current.timer);
  }, []);
  useEffect(() => {
    if (open && active >= 0) box.current?.children[active]?.scrollIntoView({ block: "nearest" });
  }, [active, open]);

  const suggest = (typed, wait = WAIT_MILLISECONDS) => {
    const own = asking.current;
    clearTimeout(own.timer);
    own.controller?.abort();
    own.timer = setTimeout(async () => {
      own.controller = new AbortController();
      try {
        const found = await load(typed, own.controller.signal);
        if (document.activeElement !== input.current) return;
        setOptions(found);
        setActive(-1);
        setOpen(found.length > 0);
      } catch (error) {
        if (error.name !== "AbortError") setOpen(false);
      }
    }, wait);
  };
  const close = () => {
    clearTimeout(asking.current.timer);
    asking.current.controller?.abort();
    setOpen(false);
    setActive(-1);
  };
  const pick = (picked) => {
    close();
    setText(clear ? "" : String(picked));
    if (clear ? picked !== "" : picked !== String(value)) onPick(picked);
  };
  const onKeyDown = (event) => {
    if (event.key === "ArrowDown" || event.key === "ArrowUp") {
      event.preventDefault();
      if (!open) return suggest(text === String(value) ? "" : text, 0);
      const step = event.key === "ArrowDown" ? 1 : -1;
      setActive((active + step + options.length) % options.length);
    } else if (event.key === "Enter" && (open || text !== String(value))) {
      event.preventDefault();
      pick(open && active >= 0 ? options[active].value : text.trim());
    } else if (event.key === "Escape" && open) {
      event.preventDefault();
      event.stopPropagation();
      close();
    } else if (event.key === "Backspace" && text === "") {
      onBackspace?.();
    }
  };
  return html`<div class="combobox">
    <input
      ref=${input}
      type="text"
      role="combobox"
      autocomplete="off"
      spellcheck=${false}
      aria-label=${label}
      aria-expanded=${open ? "true" : "false"}
      aria-controls=${id}
      aria-autocomplete="list"
      aria-activedescendant=${open && active >= 0 ? `${id}-${active}` : undefined}
      placeholder=${placeholder}
      value=${text}
      onFocus=${() => suggest(clear ? text : "", 0)}
      onInput=${(event) => (setText(event.currentTarget.value), suggest(event.currentTarget.value))}
      onKeyDown=${onKeyDown}
      onBlur=${() => pick(text.trim())}
      ...${attributes}
      ...${more}
    />
    <ul ref=${box} id=${id} role="listbox" aria-label="${label}: suggestions" hidden=${!open}>
      ${options.map(
        (option, index) => html`<li
          key=${option.value}
          id="${id}-${index}"
          role="option"
          aria-selected=${index === active ? "true" : "false"}
          onMouseDown=${(event) => event.preventDefault()}
          onClick=${() => pick(option.value)}
        >
          <span>${option.text}</span>${option.detail && html` <small>${option.detail}</small>`}
        </li>`,
      )}
    </ul>
  </div>`;
}
