// Outline icons, drawn for this page on a 20 × 20 grid.
import { svg } from "./dom.js";

const PATHS = {
  archive: ["M3 4h14v4H3z", "M4.5 8v8.5h11V8", "M8 11h4"],
  at: ["M13 10a3 3 0 1 1-6 0 3 3 0 0 1 6 0v1.2a2 2 0 0 0 4 0V10a7 7 0 1 0-2.8 5.6"],
  back: ["M12 4.5 6.5 10l5.5 5.5"],
  bolt: ["M11 2.5 4.5 11.5H10l-1 6 6.5-9H10z"],
  check: ["m4.5 10.5 3.5 3.5 7.5-8"],
  chevron: ["m5.5 8 4.5 4.5L14.5 8"],
  close: ["M5 5l10 10", "M15 5 5 15"],
  copy: ["M7 7h9v9H7z", "M13 7V4H4v9h3"],
  download: ["M10 3v9.5", "m6 9 4 4 4-4", "M4 16.5h12"],
  eye: ["M2.5 10S5.5 5 10 5s7.5 5 7.5 5-3 5-7.5 5-7.5-5-7.5-5z", "M10 12.2a2.2 2.2 0 1 0 0-4.4 2.2 2.2 0 0 0 0 4.4z"],
  fault: ["M10 3 2.5 16.5h15z", "M10 8v4", "M10 14.2v.1"],
  file: ["M5 2.5h6.5L15.5 6.5v11h-10.5z", "M11.5 2.5v4h4", "M7.5 10.5h5", "M7.5 13.5h5"],
  hash: ["M7.5 3 6 17", "M14 3l-1.5 14", "M3.5 7.5h13.5", "M3 12.5h13.5"],
  home: ["M3 9.5 10 3.5l7 6", "M5 8.5V16.5h10V8.5", "M8.5 16.5v-4.5h3v4.5"],
  image: ["M3 4h14v12H3z", "m3 14 4.5-4.5 3.5 3.5 2.5-2 3.5 3", "M13 8v.1"],
  link: [
    "M8.5 11.5a3 3 0 0 0 4.3 0l2.7-2.7a3 3 0 0 0-4.3-4.3L10 5.7",
    "M11.5 8.5a3 3 0 0 0-4.3 0l-2.7 2.7a3 3 0 0 0 4.3 4.3L10 14.3",
  ],
  menu: ["M3 5.5h14", "M3 10h14", "M3 14.5h14"],
  moon: ["M16.5 12A7 7 0 0 1 8 3.5 7 7 0 1 0 16.5 12z"],
  more: ["M10 4.6v.1", "M10 10v.1", "M10 15.4v.1"],
  plug: ["M7 2.5v4", "M13 2.5v4", "M5 6.5h10v3a5 5 0 0 1-10 0z", "M10 14.5v3"],
  reply: ["M3 4h14v9.5H9.5L6 16.5v-3H3z", "M6.5 7.5h7", "M6.5 10.2h4.5"],
  search: ["M9 15A6 6 0 1 0 9 3a6 6 0 0 0 0 12z", "m13.5 13.5 4 4"],
  send: ["M3.5 4 17 10 3.5 16l1.5-6z", "M5 10h6"],
  server: ["M3 3.5h14v5.5H3z", "M3 11h14v5.5H3z", "M6 6.2v.1", "M6 13.7v.1"],
  slash: ["M3 3h14v14H3z", "m12 6.5-4 7"],
  sun: [
    "M10 13.5a3.5 3.5 0 1 0 0-7 3.5 3.5 0 0 0 0 7z",
    "M10 1.8v1.7",
    "M10 16.5v1.7",
    "M1.8 10h1.7",
    "M16.5 10h1.7",
    "m4.2 4.2 1.2 1.2",
    "m14.6 14.6 1.2 1.2",
    "m15.8 4.2-1.2 1.2",
    "m5.4 14.6-1.2 1.2",
  ],
  threads: ["M3 3.500h11v7.500H8l-3 2.500V11H3z", "M8.500 13.500v1h4.500l2.500 2V14.500H17V7.500h-1"],
  system: ["M3 4h14v9.5H3z", "M7 17h6", "M10 13.5V17"],
};

/** The icon `name` as an SVG node that screen readers skip: its button carries the label. */
export function icon(name, className = "icon") {
  return svg(
    "svg",
    {
      viewBox: "0 0 20 20",
      class: name === "more" ? `${className} icon-dots` : className,
      "aria-hidden": "true",
      focusable: "false",
    },
    PATHS[name].map((d) => svg("path", { d })),
  );
}
