// SPDX-License-Identifier: Apache-2.0
// The statistics of scripts/hzbench/stats.py that a change of the baseline needs again. No randomness, no page.
"use strict";
const Stats = (() => {
  const median = (values) => {
    const v = Float64Array.from(values).sort();
    const middle = v.length >> 1;
    return v.length === 0 ? NaN : v.length % 2 ? v[middle] : (v[middle - 1] + v[middle]) / 2;
  };

  // Of sorted values, between them as numpy does it.
  const quantile = (v, share) => {
    const at = (v.length - 1) * share, low = Math.floor(at);
    return v.length === 0 ? NaN : v[low] + (at - low) * (v[Math.min(low + 1, v.length - 1)] - v[low]);
  };

  // Median of all pairwise means, each value with itself included.
  const hodgesLehmann = (d) => {
    const walsh = [];
    for (let i = 0; i < d.length; i++) for (let j = i; j < d.length; j++) walsh.push((d[i] + d[j]) / 2);
    return median(walsh);
  };

  // Exact two-sided p of Wilcoxon's signed-rank test: midranks (doubled, so whole numbers), zeros dropped.
  const signedRankP = (differences) => {
    const d = differences.filter((v) => v !== 0).sort((a, b) => Math.abs(a) - Math.abs(b));
    if (d.length === 0) return 1;
    const ranks = [];
    for (let i = 0; i < d.length; ) {
      let j = i;
      while (j < d.length && Math.abs(d[j]) === Math.abs(d[i])) j++;
      for (let k = i; k < j; k++) ranks.push(i + 1 + j);
      i = j;
    }
    const total = ranks.reduce((a, b) => a + b, 0);
    let ways = new Float64Array(total + 1);
    ways[0] = 1;
    for (const rank of ranks) {
      const next = new Float64Array(total + 1);
      for (let s = 0; s <= total; s++) next[s] = (ways[s] + (s >= rank ? ways[s - rank] : 0)) / 2;
      ways = next;
    }
    const positive = ranks.reduce((a, r, i) => a + (d[i] > 0 ? r : 0), 0);
    let tail = 0;
    for (let s = 0; s <= Math.min(positive, total - positive); s++) tail += ways[s];
    return Math.min(1, 2 * tail);
  };

  const benjaminiHochberg = (p) => {
    const order = p.map((_, i) => i).sort((a, b) => p[a] - p[b]);
    const q = new Array(p.length);
    let least = 1;
    for (let k = order.length - 1; k >= 0; k--) {
      least = Math.min(least, (p[order[k]] * p.length) / (k + 1));
      q[order[k]] = least;
    }
    return q;
  };

  // Effect that an interval of this width would have shown 4 times in 5; 0.8416 and 1.96 are normal quantiles.
  const smallestVisible = (low, high) => {
    const half = (Math.log(high) - Math.log(low)) / 2;
    return Number.isFinite(half) ? Math.expm1(half * (1 + 0.8416212335729143 / 1.959963984540054)) : Infinity;
  };

  const verdict = (c, q, options) => {
    if (c.pairs >= options.min_pairs && c.low >= 1 - options.margin && c.high <= 1 + options.margin) return "same";
    if (q <= options.alpha && c.low > 1) return "faster";
    if (q <= options.alpha && c.high < 1) return "slower";
    return "undecided";
  };

  const geometricMean = (ratios) => Math.exp(ratios.reduce((a, r) => a + Math.log(r), 0) / ratios.length);

  return { median, quantile, hodgesLehmann, signedRankP, benjaminiHochberg, smallestVisible, verdict, geometricMean };
})();
