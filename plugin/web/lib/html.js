// SPDX-License-Identifier: AGPL-3.0-or-later
// Templates without a build step. Values become text or properties, never markup.
import { h } from "preact";
import htm from "htm";

export const html = htm.bind(h);
