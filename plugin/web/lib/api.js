// SPDX-License-Identifier: AGPL-3.0-or-later
// The router's REST API. Addresses are relative to the page, so that a proxy may add a prefix.

const ROOT = new URL("../", document.baseURI);

/** What the router refused, or that it could not be reached (`status` 0). `problems`: [{Path, Message}]. */
export class ApiError extends Error {
  constructor(status, message, problems = []) {
    super(message);
    this.name = "ApiError";
    this.status = status;
    this.problems = problems;
  }
}

/** A path with its values encoded: path`rules/${name}/versions`. */
export function path(strings, ...values) {
  return String.raw({ raw: strings }, ...values.map(encodeURIComponent));
}

/** GET; `query` without what is empty. */
export function get(where, query = {}, options = {}) {
  const url = new URL(where, ROOT);
  for (const [name, value] of Object.entries(query)) {
    if (value !== undefined && value !== null && value !== "") url.searchParams.set(name, value);
  }
  return request("GET", url, undefined, options);
}

export const post = (where, body = {}) => request("POST", new URL(where, ROOT), body);
export const put = (where, body) => request("PUT", new URL(where, ROOT), body);
export const del = (where) => request("DELETE", new URL(where, ROOT), {});

async function request(method, url, body, { signal } = {}) {
  let response;
  try {
    response = await fetch(url, {
      method,
      signal,
      cache: "no-store",
      credentials: "same-origin",
      headers: body === undefined ? {} : { "Content-Type": "application/json" },
      body: body === undefined ? undefined : JSON.stringify(body),
    });
  } catch (error) {
    if (error.name === "AbortError") throw error;
    throw new ApiError(0, "The router does not answer. Is Orthanc running, and is the network up?");
  }
  const text = await response.text();
  if (response.ok) return text ? JSON.parse(text) : null;
  throw refusal(response.status, text);
}

/** Orthanc gives the body of an error without its type, so it is tried. */
function refusal(status, text) {
  try {
    const told = JSON.parse(text);
    if (typeof told.Error === "string") return new ApiError(status, told.Error, told.Problems ?? []);
  } catch {
    // not the router's own answer
  }
  if (status === 401 || status === 403) return new ApiError(status, "You are not allowed to do this.");
  return new ApiError(status, `The server answered with status ${status}.`);
}
