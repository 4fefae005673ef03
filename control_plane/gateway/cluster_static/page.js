/** The cluster's page: asks /cluster.json each second and shows what it says. */

import { element, keyed, set, text } from './dom.js';
import { count, many, milliseconds, percent, rate } from './format.js';
import { draw } from './map.js';

const INTERVAL = 1000;
const STORED = 'pysfu-operator-token';
const SHOWN_ROOMS = 200;

const $ = (id) => document.getElementById(id);
let token = sessionStorage.getItem(STORED) ?? '';
let answer = null;
let answered = 0;
let stressed = null;
let timer = 0;

async function begin() {
  $('enter').addEventListener('submit', (event) => {
    event.preventDefault();
    enter($('token').value.trim());
  });
  $('leave').addEventListener('click', leave);
  $('search').addEventListener('input', show);
  document.addEventListener('visibilitychange', () => !document.hidden && token && ask());
  if (token) return enter(token);
  $('enter').hidden = false;
  // Without one the form is as good.
  await prefill().catch(() => undefined);
}

/** With --dev the server gives a token for the development key. */
async function prefill() {
  const { dev } = await (await fetch('/api/config')).json();
  if (!dev) return;
  const { token: made } = await (await fetch('/cluster/token', { method: 'POST' })).json();
  if (!$('token').value) $('token').value = made;
}

function enter(given) {
  token = given;
  $('enter').hidden = true;
  ask();
}

function leave(reason = '') {
  clearTimeout(timer);
  sessionStorage.removeItem(STORED);
  token = '';
  answer = null;
  $('content').hidden = true;
  $('leave').hidden = true;
  $('enter').hidden = false;
  text($('told'), '\u00a0');
  trouble(typeof reason === 'string' ? reason : '');
  $('token').focus();
}

async function ask() {
  clearTimeout(timer);
  const asked = token;
  try {
    const response = await fetch('/cluster.json', {
      headers: { Authorization: `Bearer ${asked}` },
      signal: AbortSignal.timeout(5000),
    });
    const body = await response.json();
    if (asked !== token) return;
    if (response.status === 401 || response.status === 403) return leave(`This token does not do: ${body.error}.`);
    if (!response.ok) throw new Error(body.error);
    sessionStorage.setItem(STORED, token);
    answer = body;
    answered = Date.now();
    trouble('');
    show();
  } catch (error) {
    if (asked !== token) return;
    const since = answered ? ` What is shown is ${Math.round((Date.now() - answered) / 1000)} s old.` : '';
    trouble(`No answer: ${error.message}.${since}`);
  }
  if (!document.hidden) timer = setTimeout(ask, INTERVAL);
}

function trouble(words) {
  $('trouble').hidden = !words;
  text($('trouble'), words);
}

function show() {
  if (!answer) return;
  $('content').hidden = false;
  $('leave').hidden = false;
  const { nodes, rooms } = answer;
  const links = nodes.flatMap((node) => node.links.map((link) => ({ from: node.id, to: link.node, ...link })));
  text($('told'), `As node ${answer.node || '(without a cluster)'} sees it, ${new Date(answered).toLocaleTimeString()}`);
  totals(nodes, answer.total_rooms);
  draw($('map'), nodes, links, stressed);
  keyed($('nodes'), nodes, (node) => node.id, nodeRow, updateNodeRow);
  $('links-section').hidden = links.length === 0;
  keyed($('links'), links, (link) => `${link.from} ${link.to}`, linkRow, updateLinkRow);
  const wanted = $('search').value.trim().toLowerCase();
  const found = rooms.filter((room) => room.name.toLowerCase().includes(wanted));
  keyed($('rooms'), found.slice(0, SHOWN_ROOMS), (room) => room.name, roomRow, updateRoomRow);
  if (answer.partial) text($('told'), `${$('told').textContent}; the shared state is away, so only this node's rooms are shown`);
  const hidden = answer.total_rooms - Math.min(found.length, SHOWN_ROOMS);
  const nothing = rooms.length === 0 ? 'No room is live.' : '';
  text($('more'), hidden > 0 && !nothing ? `${many(hidden, 'more room')} not shown.` : nothing);
}

function totals(nodes, rooms) {
  const sum = (read) => nodes.reduce((total, node) => total + read(node), 0);
  const ready = nodes.filter((node) => node.state === 'ready').length;
  const others = nodes.length === ready ? 'all ready' : `${ready} ready`;
  const fullest = Math.max(0, ...nodes.map((node) => node.used));
  const items = [
    ['Nodes', count(nodes.length), others],
    ['Rooms', count(rooms), ''],
    ['Participants', count(sum((node) => node.participants)), ''],
    ['Packets per second', count(sum((node) => node.packets_per_second)), 'in and out'],
    ['Sent', rate(sum((node) => node.egress_bps)), ''],
    ['Fullest node', percent(fullest), ''],
  ];
  keyed($('totals'), items, ([name]) => name, ([name]) =>
    element('div', {}, element('dt', {}, name), element('dd'), element('small')),
  (item, [, value, note]) => {
    text(item.children[1], value);
    text(item.children[2], note);
  });
}

function nodeRow(node) {
  const cells = Array.from({ length: 9 }, (_, index) => element(index === 0 ? 'th' : 'td', {}));
  set(cells[0], { scope: 'row' });
  for (const index of [4, 5, 6, 7]) set(cells[index], { class: 'number' });
  cells[2].append(element('span', { class: 'state' }));
  cells[3].append(element('span', { class: 'meter' }, element('span', { class: 'meter-used' })), element('span', { class: 'meter-text' }));
  const row = element('tr', { tabindex: 0 }, ...cells);
  stressing(row, () => new Set([node.id]));
  return row;
}

function updateNodeRow(row, node) {
  const [id, region, state, load, people, rooms, packets, out, version] = row.children;
  text(id, node.id);
  text(region, node.region || '–');
  text(state.firstChild, node.state);
  set(state.firstChild, { class: `state ${node.state}` });
  const [meter, words] = load.children;
  meter.firstChild.style.width = `${100 * Math.min(1, node.used)}%`;
  set(meter, { class: `meter ${node.used >= 0.9 ? 'full' : node.used >= 0.7 ? 'high' : ''}` });
  const shares = Object.entries(node.load).map(([name, share]) => `${name} ${percent(share)}`);
  text(words, shares.join(', ') || percent(node.used));
  text(people, `${count(node.participants)} of ${count(node.max_participants)}`);
  text(rooms, count(node.rooms));
  text(packets, count(node.packets_per_second));
  text(out, rate(node.egress_bps));
  text(version, node.version);
}

function linkRow() {
  const cells = Array.from({ length: 5 }, (_, index) => element('td', index >= 2 ? { class: 'number' } : {}));
  return element('tr', {}, ...cells);
}

function updateLinkRow(row, link) {
  const [from, to, rtt, loss, sent] = row.children;
  text(from, link.from);
  text(to, link.through ? `${link.to} by way of ${link.through}` : link.to);
  text(rtt, milliseconds(link.rtt_ms));
  text(loss, percent(link.loss));
  text(sent, rate(link.bps));
}

function roomRow(room) {
  const row = element('tr', { tabindex: 0 }, element('th', { scope: 'row' }), element('td', { class: 'places' }), element('td', { class: 'number' }));
  const nodes = () => new Set(answer.rooms.find((one) => one.name === room.name)?.nodes ?? []);
  stressing(row, nodes);
  return row;
}

function updateRoomRow(row, room) {
  const [name, places, epoch] = row.children;
  text(name, room.name);
  const order = [...room.nodes].sort((one, other) => (other === room.owner) - (one === room.owner) || one.localeCompare(other));
  keyed(places, order, (id) => id, () => element('span'), (chip, id) => {
    text(chip, id);
    set(chip, { class: id === room.owner ? 'chip owner' : 'chip' });
  });
  text(epoch, String(room.epoch));
}

/** While a row has the pointer or the focus its nodes stand out on the map. */
function stressing(row, nodes) {
  const on = () => { stressed = nodes(); show(); };
  const off = () => { stressed = null; show(); };
  for (const name of ['mouseenter', 'focus']) row.addEventListener(name, on);
  for (const name of ['mouseleave', 'blur']) row.addEventListener(name, off);
}

begin();
