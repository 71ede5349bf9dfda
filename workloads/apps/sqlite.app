# SPDX-License-Identifier: Apache-2.0
# summary: sqlite3 on a database in memory: rows inserted, indexed, updated, joined, sorted and deleted
# packages: sqlite3
# programs: sqlite3
# proof: sqlite3
# ops: 100000
# unit: rows
# threads: 1
# kind: batch

# An op is a row. Sizes are a function of the row's number, so that every run does the same.
prepare() {
    cat >"$DIR/script.sql" <<END
pragma journal_mode = memory;
create table item (id integer primary key, name text, body blob);
with recursive n(i) as (select 1 union all select i + 1 from n where i < $OPS)
    insert into item select i, 'item-' || (i * 7919 % $OPS), zeroblob(16 + i * 37 % 500) from n;
create index item_name on item (name);
update item set body = zeroblob(16 + id * 53 % 2000) where id % 3 = 0;
select count(*), sum(length(a.body)) from item a join item b on b.name = 'item-' || a.id;
select name from item order by substr(name, 7), length(body) limit 1;
delete from item where id % 2 = 0;
select count(*) = $OPS - $OPS / 2 from item;
END
}

work() {
    exec sqlite3 -bail -init "$DIR/script.sql" :memory: .quit
}
