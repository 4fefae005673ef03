/** Nodes by region on a circle of regions, links between them. */

import { keyed, set, shape, text } from './dom.js';
import { many, milliseconds, percent, rate } from './format.js';

const WIDTH = 1120;
const CARD = { width: 164, height: 62, gap: 14 };
const DOT = { width: 18, height: 18, gap: 8 };
/** From so many nodes on they are dots. */
const MANY = 40;
/** Up to so many links have their figures beside them; of more, the pointer shows them. */
const FEW = 6;
/** Up to so many regions are a circle, more stand in rows. */
const CIRCLE = 12;
/** More are drawn thin. */
const CROWD = 40;
const PADDING = 16;
const HEAD = 22;

/** `nodes` and `links` as /cluster.json tells them, `shown` the ids of nodes to stress (null: none). */
export function draw(svg, nodes, links, shown) {
  const plan = lay(nodes);
  set(svg, { viewBox: `0 0 ${WIDTH} ${plan.height}` });
  const [regions, lines, names, labels, cards] = layers(svg);
  keyed(regions, plan.regions, (region) => region.name, makeRegion, updateRegion);
  const ends = links.filter((link) => plan.places.has(link.from) && plan.places.has(link.to));
  const pairs = joined(ends);
  keyed(names, plan.regions, (region) => region.name, () => shape('text', { class: 'region-name' }), updateName);
  const crowd = pairs.length > CROWD;
  const update = (line, pair) => updateLine(line, pair, plan, shown, crowd);
  keyed(lines, pairs, (pair) => pair.key, makeLine, update);
  const told = plan.dots || pairs.length > FEW ? [] : pairs;
  keyed(labels, told, (pair) => pair.key, makeLabel, (label, pair) => updateLabel(label, pair, plan));
  keyed(cards, nodes, (node) => node.id, makeCard, (card, node) => updateCard(card, node, plan, shown));
}

/** Where everything is. */
function lay(nodes) {
  const dots = nodes.length > MANY;
  const size = dots ? DOT : CARD;
  const byRegion = new Map();
  for (const node of nodes) byRegion.set(node.region, [...(byRegion.get(node.region) ?? []), node.id]);
  const boxes = [...byRegion].sort(([one], [other]) => one.localeCompare(other)).map(([name, ids]) => {
    // Fewer side by side where many regions are.
    const most = byRegion.size > 6 ? 1 : byRegion.size > 2 ? 2 : 3;
    const columns = dots ? Math.ceil(Math.sqrt(ids.length * 1.6)) : Math.min(ids.length > 4 ? 3 : ids.length > 1 ? 2 : 1, most);
    const rows = Math.ceil(ids.length / columns);
    const width = Math.max(columns * (size.width + size.gap) - size.gap + 2 * PADDING, 130);
    return { name, ids, columns, width, height: rows * (size.height + size.gap) - size.gap + 2 * PADDING + HEAD };
  });
  const height = boxes.length > CIRCLE ? shelves(boxes) : circle(boxes);
  const places = new Map();
  for (const box of boxes) {
    box.ids.forEach((id, index) => {
      places.set(id, {
        x: box.left + PADDING + (index % box.columns) * (size.width + size.gap) + size.width / 2,
        y: box.top + PADDING + HEAD + Math.floor(index / box.columns) * (size.height + size.gap) + size.height / 2,
      });
    });
  }
  return { regions: boxes, places, height, dots, size };
}

/** Puts boxes on an ellipse wide enough that they do not overlap. Returns the height of the whole. */
function circle(boxes) {
  const widest = Math.max(...boxes.map((box) => box.width), 0);
  const tallest = Math.max(...boxes.map((box) => box.height), 0);
  const count = boxes.length;
  const total = boxes.reduce((sum, box) => sum + box.width, 0);
  if (count <= 3 && total + 60 * count <= WIDTH) {
    // Side by side, links between them run straight.
    const gap = (WIDTH - total) / (count + 1);
    let left = gap;
    for (const box of boxes) {
      put(box, left, 20 + (tallest - box.height) / 2 + (count === 3 && box === boxes[1] ? 130 : 0));
      left += box.width + gap;
    }
    return tallest + 40 + (count === 3 ? 130 : 0);
  }
  const across = (WIDTH - widest) / 2 - 10;
  let down = 150;
  do {
    down *= 1.1;
    boxes.forEach((box, index) => {
      const angle = (2 * Math.PI * index) / count - Math.PI / 2;
      put(box, WIDTH / 2 + across * Math.cos(angle) - box.width / 2, down * Math.sin(angle) - box.height / 2);
    });
  } while (boxes.some((one, index) => boxes.slice(0, index).some((other) => overlap(one, other))) && down < 5000);
  // Where nothing stands at the top or the bottom no room is left for it.
  const top = Math.min(...boxes.map((box) => box.top)) - 20;
  for (const box of boxes) box.top -= top;
  return Math.max(...boxes.map((box) => box.top + box.height)) + 20;
}

/** Puts boxes in rows. Returns the height of the whole. */
function shelves(boxes) {
  let [left, top, tallest] = [0, 20, 0];
  for (const box of boxes) {
    if (left > 0 && left + box.width > WIDTH) [left, top, tallest] = [0, top + tallest + 3 * CARD.gap, 0];
    put(box, left, top);
    left += box.width + 3 * CARD.gap;
    tallest = Math.max(tallest, box.height);
  }
  return top + tallest + 20;
}

function overlap(one, other) {
  const across = Math.abs(one.left + one.width / 2 - other.left - other.width / 2);
  const down = Math.abs(one.top + one.height / 2 - other.top - other.height / 2);
  return across < (one.width + other.width) / 2 + CARD.gap && down < (one.height + other.height) / 2 + CARD.gap;
}

function put(box, left, top) {
  box.left = left;
  box.top = top;
}

/** Both directions of a pair of nodes as one. */
function joined(links) {
  const pairs = new Map();
  for (const link of links) {
    const [one, other] = [link.from, link.to].sort();
    const key = `${one} ${other}`;
    const pair = pairs.get(key) ?? { key, one, other, rtt: 0, loss: 0, bps: 0, directions: [] };
    pair.rtt = pair.rtt && link.rtt_ms ? Math.min(pair.rtt, link.rtt_ms) : pair.rtt || link.rtt_ms;
    pair.loss = Math.max(pair.loss, link.loss);
    pair.bps += link.bps;
    pair.directions.push(link);
    pairs.set(key, pair);
  }
  return [...pairs.values()];
}

function layers(svg) {
  if (!svg.firstChild) {
    for (const name of ['regions', 'lines', 'names', 'labels', 'cards']) svg.append(shape('g', { class: name }));
  }
  return [...svg.children];
}

function makeRegion() {
  return shape('rect', { class: 'region', rx: 16 });
}

function updateRegion(rectangle, box) {
  set(rectangle, { x: box.left, y: box.top, width: box.width, height: box.height });
}

function updateName(name, box) {
  set(name, { x: box.left + PADDING, y: box.top + 24 });
  text(name, box.name || 'no region');
}

function makeLine() {
  return shape('g', { class: 'link' }, shape('path'), shape('title'));
}

function updateLine(group, pair, plan, shown, crowd) {
  const [path, title] = group.children;
  const { from, to, bend } = course(pair, plan);
  set(path, { d: `M${from.x} ${from.y} Q${bend.x} ${bend.y} ${to.x} ${to.y}` });
  const width = 1.5 + Math.min(6, Math.log2(1 + pair.bps / 1e6));
  set(path, { 'stroke-width': crowd ? '1' : width.toFixed(1) });
  const dim = shown && !(shown.has(pair.one) && shown.has(pair.other)) ? ' dim' : '';
  set(group, { class: `link ${quality(pair)}${crowd ? ' crowd' : ''}${dim}` });
  const lines = pair.directions.map((link) => `${link.from} → ${link.to}: ${figures(link)}`);
  text(title, lines.join('\n'));
}

function makeLabel() {
  return shape('g', { class: 'link-label' }, shape('rect', { rx: 9, height: 20 }), shape('text', { 'text-anchor': 'middle' }));
}

function updateLabel(group, pair, plan) {
  const [rectangle, label] = group.children;
  const { from, to, bend } = course(pair, plan);
  const x = from.x / 4 + bend.x / 2 + to.x / 4;
  const y = from.y / 4 + bend.y / 2 + to.y / 4;
  const words = figures({ rtt_ms: pair.rtt, loss: pair.loss, bps: pair.bps });
  const width = words.length * 6.4 + 16;
  set(rectangle, { x: x - width / 2, y: y - 10, width });
  set(label, { x, y: y + 4 });
  set(group, { class: `link-label ${quality(pair)}` });
  text(label, words);
}

/** The curve of a link: within a region it bows outwards, else a little to one side, so that two do not cover each other. */
function course(pair, plan) {
  const from = plan.places.get(pair.one);
  const to = plan.places.get(pair.other);
  const across = to.x - from.x;
  const down = to.y - from.y;
  const long = Math.hypot(across, down) || 1;
  const bow = Math.min(60, long / 7);
  const bend = { x: (from.x + to.x) / 2 - (down / long) * bow, y: (from.y + to.y) / 2 + (across / long) * bow };
  return { from, to, bend };
}

function figures(link) {
  const loss = link.loss >= 0.0005 ? ` · ${percent(link.loss)} lost` : '';
  return `${milliseconds(link.rtt_ms)}${loss} · ${rate(link.bps)}`;
}

function quality(pair) {
  if (pair.loss >= 0.05) return 'bad';
  return pair.loss >= 0.01 ? 'poor' : 'good';
}

function makeCard() {
  return shape(
    'g',
    { class: 'card' },
    shape('rect', { class: 'frame', rx: 10 }),
    shape('circle', { class: 'dot', r: 4.5 }),
    shape('text', { class: 'id' }),
    shape('text', { class: 'share', 'text-anchor': 'end' }),
    shape('text', { class: 'people' }),
    shape('rect', { class: 'bar', rx: 3, height: 6 }),
    shape('rect', { class: 'used', rx: 3, height: 6 }),
    shape('title'),
  );
}

function updateCard(group, node, plan, shown) {
  const [frame, dot, id, share, people, bar, used, title] = group.children;
  const { x, y } = plan.places.get(node.id);
  const { width, height } = plan.size;
  const left = x - width / 2;
  const top = y - height / 2;
  const dim = shown && !shown.has(node.id) ? ' dim' : '';
  const level = node.used >= 0.9 ? ' full' : node.used >= 0.7 ? ' high' : '';
  set(group, { class: `card ${node.state}${level}${dim}${plan.dots ? ' small' : ''}` });
  set(frame, { x: left, y: top, width, height });
  text(title, `${node.id}: ${node.state}, ${percent(node.used)} in use, ${node.participants} participants`);
  if (plan.dots) {
    const full = Math.max(2, (height - 4) * Math.min(1, node.used));
    set(used, { x: left + 2, y: top + height - 2 - full, width: width - 4, height: full });
    return;
  }
  set(dot, { cx: left + 15, cy: top + 18 });
  set(id, { x: left + 26, y: top + 22 });
  text(id, node.id.length > 15 ? `${node.id.slice(0, 6)}…${node.id.slice(-8)}` : node.id);
  set(people, { x: left + 12, y: top + 39 });
  text(people, `${node.participants} in ${many(node.rooms, 'room')}`);
  set(share, { x: left + width - 12, y: top + 22 });
  text(share, `${Math.round(100 * node.used)} %`);
  const long = width - 24;
  set(bar, { x: left + 12, y: top + height - 15, width: long });
  set(used, { x: left + 12, y: top + height - 15, width: Math.max(node.used > 0 ? 3 : 0, long * Math.min(1, node.used)), height: 6 });
}
