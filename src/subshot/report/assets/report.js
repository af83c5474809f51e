"use strict";
(() => {
  // A page is 182 mm wide between its margins.
  const PRINT_WIDTH = 680, PRINT_HEIGHT = 330;
  const NARROW = 560;
  // A line of more points is as good as drawn through.
  const MOST_DOTS = 60;
  const INK = "#1c2430", SOFT = "#5b6675", LINE = "#e3e7ec";
  const FONT = {family: 'system-ui, -apple-system, "Segoe UI", Roboto, "DejaVu Sans", sans-serif', size: 12.5, color: INK};

  // Plotly reads tags and entities in its texts: names must not become either.
  const plain = (text) => String(text).replace(/&/g, "&amp;").replace(/</g, "&lt;").replace(/>/g, "&gt;");
  const shorten = (text, most) => (text.length > most ? `${text.slice(0, most - 1)}…` : text);
  const number = (value) =>
    Math.abs(value) >= 1e15 || (value !== 0 && Math.abs(value) < 1e-4)
      ? value.toPrecision(6)
      : value.toLocaleString("en", {maximumSignificantDigits: Number.isInteger(value) ? 15 : 6});
  const shown = (value) => (value === null ? "-" : typeof value === "number" ? number(value) : value);

  const make = (tag, ...children) => {
    const element = document.createElement(tag);
    element.append(...children); // texts stay texts
    return element;
  };

  function fieldsOf(data, view) {
    const used = new Set(data.views.flatMap((one) => one.traces.flatMap((trace) => [trace.x, trace.low, trace.high])));
    const now = new Set(data.views[view].traces.flatMap((trace) => [trace.x, trace.low, trace.high]));
    // Of columns that views take turns in, a reader wants those that are seen.
    return data.fields.filter(([, column]) => !used.has(column) || now.has(column) || data.invites);
  }

  // Long texts go on in the next line, as a label must fit beside its point.
  function folded(text, room) {
    const lines = [];
    for (let rest = text; rest; ) {
      if (lines.length === 4) {
        lines[3] = shorten(`${lines[3]}…`, room);
        break;
      }
      const space = rest.length > room ? rest.lastIndexOf(" ", room) + 1 : 0;
      const end = space > room / 2 ? space : room;
      lines.push(rest.slice(0, end));
      rest = rest.slice(end);
    }
    return lines.map(plain).join("<br>");
  }

  function hoverText(data, fields, row, room) {
    return fields
      .map(([label, column], place) => {
        const value = folded(String(shown(data.columns[column][row])), room);
        return place === 0 ? `<b>${value}</b>` : `${plain(label)}: ${value}`;
      })
      .join("<br>");
  }

  function drawn(data, trace, fields, room) {
    const all = data.columns[trace.x].map((_, row) => row);
    const rows = trace.rows === null ? all : trace.rows;
    const pick = (column) => rows.map((row) => data.columns[column][row]);
    const found = {
      type: "scatter",
      name: plain(trace.name),
      x: pick(trace.x),
      y: pick(trace.y),
      customdata: rows,
      text: rows.map((row) => hoverText(data, fields, row, room)),
      hoverinfo: "text",
      mode: "markers",
      marker: {color: trace.colour, size: trace.size, symbol: trace.symbol, opacity: trace.opacity},
    };
    if (trace.mode === "steps") {
      Object.assign(found, {mode: "lines", hoverinfo: "skip", line: {color: trace.colour, width: 2, shape: "hv"}});
    }
    if (trace.mode === "line") {
      const dots = rows.length <= MOST_DOTS;
      Object.assign(found, {
        mode: dots ? "lines+markers" : "lines",
        marker: {color: trace.colour, size: 5},
        line: {color: trace.colour, width: 2, dash: trace.dashed ? "dot" : "solid"},
      });
    }
    if (trace.mode === "intervals") {
      const value = found.x, low = pick(trace.low), high = pick(trace.high);
      const distance = (to, from) => (to === null || from === null ? 0 : Math.max(0, to - from));
      found.error_x = {
        type: "data",
        symmetric: false,
        array: value.map((one, place) => distance(high[place], one)),
        arrayminus: value.map((one, place) => distance(one, low[place])),
        color: trace.colour,
        thickness: 1.6,
        width: 3,
      };
    }
    return found;
  }

  function axis(spec, narrow) {
    const found = {
      title: {text: folded(spec.title, narrow ? 40 : 100), font: {size: 13}, standoff: 8},
      type: spec.log ? "log" : "linear",
      gridcolor: LINE,
      zeroline: false,
      linecolor: "#aab4c0",
      showline: true,
      automargin: true,
      nticks: narrow ? 5 : 9,
    };
    if (spec.sizes) found.tickformat = "~s";
    if (spec.log) found.dtick = 1;
    if (spec.span) found.range = spec.log ? spec.span.map(Math.log10) : spec.span;
    if (spec.ticks.length) {
      Object.assign(found, {
        type: "linear",
        tickvals: spec.ticks.map((_, place) => place),
        ticktext: spec.ticks.map((name) => plain(shorten(name, narrow ? 20 : 44))),
        range: [spec.ticks.length - 0.4, -0.6],
        showline: false,
        title: {text: ""},
      });
    }
    return found;
  }

  function layout(data, view, width, height) {
    const narrow = width < NARROW;
    const marks = view.marks.map((mark) => {
      const across = mark.axis === "x";
      return {
        type: "line",
        layer: "below",
        xref: across ? "x" : "paper",
        yref: across ? "paper" : "y",
        x0: across ? mark.value : 0,
        x1: across ? mark.value : 1,
        y0: across ? 0 : mark.value,
        y1: across ? 1 : mark.value,
        line: {color: SOFT, width: 1.2, dash: mark.label ? "dash" : "solid"},
      };
    });
    const log = (spec, value) => (spec.log ? Math.log10(value) : value);
    const labels = view.marks.filter((mark) => mark.label).map((mark) => {
      const across = mark.axis === "x";
      return {
        text: plain(mark.label),
        showarrow: false,
        font: {size: 11.5, color: SOFT},
        xref: across ? "x" : "paper",
        yref: across ? "paper" : "y",
        x: across ? log(view.x, mark.value) : 0,
        y: across ? 1 : log(view.y, mark.value),
        xanchor: across ? "center" : "left",
        yanchor: "bottom",
      };
    });
    return {
      width,
      height,
      font: FONT,
      paper_bgcolor: "#fff",
      plot_bgcolor: "#fff",
      margin: {l: narrow ? 44 : 60, r: 16, t: 44, b: 48},
      xaxis: axis(view.x, narrow),
      yaxis: axis(view.y, narrow),
      shapes: marks,
      annotations: labels,
      hovermode: "closest",
      hoverlabel: {bgcolor: "#fff", bordercolor: "#aab4c0", font: {size: 12, color: INK}, align: "left", namelength: 0},
      showlegend: view.traces.length > 1,
      legend: {orientation: "h", x: 0, y: 1, xanchor: "left", yanchor: "bottom", yref: "paper", font: {size: 12}},
      // A finger scrolls the page; a mouse draws a frame to look closer.
      dragmode: matchMedia("(pointer: coarse)").matches ? false : "zoom",
    };
  }

  function detail(host, data, view, row) {
    const place = host.querySelector(".detail");
    if (!place) return;
    const [[, head], ...rest] = fieldsOf(data, view);
    const title = make("p", make("code", shown(data.columns[head][row])));
    title.className = "arch";
    const pairs = rest.map(([label, column]) =>
      make("div", make("dt", label), make("dd", shown(data.columns[column][row]))));
    const current = data.views[view].traces[0].x;
    if (!rest.some(([, column]) => column === current)) {
      pairs.push(make("div", make("dt", data.views[view].x.title), make("dd", shown(data.columns[current][row]))));
    }
    place.replaceChildren(title, make("dl", ...pairs));
    const template = document.getElementById(`${host.id}-drawing-${row}`);
    if (template) place.append(template.content.cloneNode(true));
    place.hidden = false;
  }

  function chart(host) {
    const data = JSON.parse(document.getElementById(`${host.id}-data`).textContent);
    const plot = host.querySelector(".plot"), select = host.querySelector("select");
    const config = {
      displaylogo: false,
      displayModeBar: false,
      scrollZoom: false,
      doubleClick: "reset+autosize",
    };
    // A list needs its height, a cloud of points looks good at any.
    const least = data.views[0].y.ticks.length ? data.height : PRINT_HEIGHT;
    let width = 0;
    const view = () => (select ? Number(select.value) : 0);
    const draw = (to, height = data.height) => {
      width = to;
      const now = data.views[view()], fields = fieldsOf(data, view()), room = to < NARROW ? 30 : 56;
      return Plotly.react(plot, now.traces.map((one) => drawn(data, one, fields, room)), layout(data, now, to, height), config);
    };
    const fit = () => {
      const to = plot.clientWidth;
      if (to && to !== width) draw(to);
    };
    draw(plot.clientWidth);
    plot.on("plotly_click", (event) => detail(host, data, view(), event.points[0].customdata));
    if (select) select.addEventListener("change", () => draw(width));
    return {fit, print: () => draw(PRINT_WIDTH, Math.min(least, data.height))};
  }

  const charts = [...document.querySelectorAll(".chart")].map(chart);
  let waiting = 0;
  addEventListener("resize", () => {
    clearTimeout(waiting);
    waiting = setTimeout(() => charts.forEach((one) => one.fit()), 120);
  });
  addEventListener("beforeprint", () => charts.forEach((one) => one.print()));
  addEventListener("afterprint", () => charts.forEach((one) => one.fit()));

  function sort(table, column) {
    const head = table.tHead.rows[0].cells[column], body = table.tBodies[0];
    const words = ![...body.rows].some((row) => row.cells[column].hasAttribute("data-value"));
    const was = head.getAttribute("aria-sort");
    // Large numbers and the first letters come first.
    const rising = was ? was === "descending" : words;
    const value = (row) => {
      const cell = row.cells[column];
      if (words) return cell.textContent;
      const text = cell.getAttribute("data-value");
      return text === "" || text === null ? null : Number(text);
    };
    const order = (one, other) => {
      if (one === null || other === null) return (one === null) - (other === null);
      const before = words ? one.localeCompare(other, "en", {numeric: true}) : one - other;
      return rising ? before : -before;
    };
    const rows = [...body.rows].map((row) => [value(row), row]).sort((one, other) => order(one[0], other[0]));
    body.append(...rows.map(([, row]) => row));
    for (const other of table.tHead.rows[0].cells) other.removeAttribute("aria-sort");
    head.setAttribute("aria-sort", rising ? "ascending" : "descending");
  }

  for (const table of document.querySelectorAll("table.sortable")) {
    for (const [column, head] of [...table.tHead.rows[0].cells].entries()) {
      head.querySelector("button").addEventListener("click", () => sort(table, column));
    }
  }
})();
