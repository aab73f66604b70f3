// SPDX-License-Identifier: AGPL-3.0-or-later
// Data that stays fresh: asked for again and again, shown without flicker.
import { useCallback, useEffect, useRef, useState } from "preact/hooks";

/**
 * What `load({signal})` answers, asked for again every `seconds` (0: once) while the page can be seen, and at once when
 * `deps` change. {data, error, loading, refresh}: `data` stays while newer data is on its way or fails to come;
 * `loading` is true until the first answer for these `deps`.
 */
export function useLive(load, deps, seconds = 5) {
  const [state, setState] = useState({ data: undefined, error: null, key: null });
  const key = JSON.stringify(deps);
  const latest = useRef(load);
  latest.current = load;
  const again = useRef(() => {});

  useEffect(() => {
    let timer, controller;
    let stopped = false;
    const ask = async () => {
      clearTimeout(timer);
      controller?.abort();
      const own = (controller = new AbortController());
      try {
        const data = await latest.current({ signal: own.signal });
        if (!stopped && own === controller) setState((old) => (sameAs(old, data, key) ? old : { data, error: null, key }));
      } catch (error) {
        if (stopped || error.name === "AbortError") return;
        setState((old) => ({ data: old.data, error, key }));
      }
      if (!stopped && own === controller && seconds > 0) timer = setTimeout(tick, seconds * 1000);
    };
    const tick = () => (document.hidden ? (timer = setTimeout(tick, 1000)) : ask());
    again.current = ask;
    ask();
    return () => {
      stopped = true;
      clearTimeout(timer);
      controller?.abort();
    };
  }, [key, seconds]);

  const refresh = useCallback(() => again.current(), []);
  return { data: state.data, error: state.error, loading: state.key !== key, refresh };
}

function sameAs(old, data, key) {
  return old.key === key && !old.error && JSON.stringify(old.data) === JSON.stringify(data);
}
