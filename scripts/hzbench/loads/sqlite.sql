-- SPDX-License-Identifier: Apache-2.0
-- Insert, index, join, window, text functions, delete, vacuum; the integrity check at the end.
pragma cache_size = -20000;
create table a(id integer primary key, k integer, name text, body text);
with recursive n(i) as (select 1 union all select i + 1 from n where i < 40000)
insert into a select i, i * 7919 % 1009, 'name ' || (i * 31 % 4001), substr(hex(i * 1234567), 1, 8) || replace(hex(zeroblob(i % 60)), '0', 'x') from n;
create index a_k on a(k, name);
create table b as select k, count(*) as c, group_concat(substr(name, 6), ',') as names from a group by k;
select count(*), sum(c), sum(length(names)) from b;
select count(*) from a join b using (k) where a.id % 7 = 0 and b.c > 10;
select sum(r) from (select rank() over (partition by k order by name, id) as r from a);
select k, max(length(body)), min(name) from a group by k order by k desc limit 5;
update a set body = body || upper(name) where k % 3 = 0;
delete from a where id % 5 = 0;
vacuum;
select count(*), sum(length(body)) from a;
select name, count(*) from a group by name order by 2 desc, 1 limit 5;
pragma integrity_check;
