<?php
// Debian's PHP with its packaged extensions, each of which is a library that PHP opens with RTLD_DEEPBIND.
mt_srand(1);
foreach (['mbstring', 'dom', 'gd', 'curl', 'pdo_sqlite', 'intl', 'zip'] as $extension) {
    if (!extension_loaded($extension)) {
        fwrite(STDERR, "php: no $extension - scripts/setup test installs it\n");
        exit(1);
    }
}

function tell($what, $text) {
    echo $what, ' ', hash('sha256', is_string($text) ? $text : json_encode($text)), "\n";
}

// Strings and arrays of the engine's own.
$words = [];
for ($i = 0; $i < 20000; $i++) {
    $words["w" . mt_rand(0, 3000)][] = str_repeat(chr(97 + $i % 26), 1 + $i % 90);
}
ksort($words);
tell('arrays', array_map('count', $words));
tell('pcre', preg_replace_callback('/(w\d)(\d*)/', fn($m) => strtoupper($m[1]) . strrev($m[2]), implode(' ', array_keys($words))));
tell('serialize', unserialize(serialize($words)));

$text = str_repeat("日本語のテキスト, καλημέρα, ", 500);
tell('mbstring', mb_convert_encoding(mb_strtoupper($text), 'UTF-16LE', 'UTF-8') . mb_strimwidth($text, 0, 99, '…'));

$document = new DOMDocument();
$root = $document->appendChild($document->createElement('list'));
for ($i = 0; $i < 4000; $i++) {
    $node = $root->appendChild($document->createElement('item', "text $i"));
    $node->setAttribute('n', (string)($i % 17));
}
$copy = new DOMDocument();
$copy->loadXML($document->saveXML());
$path = new DOMXPath($copy);
tell('dom', $document->saveXML() . $path->query('//item[@n="5"]')->length);
tell('simplexml', (string)simplexml_load_string($document->saveXML())->item[77]);
foreach ($path->query('//item[@n="3"]') as $node) {
    $node->parentNode->removeChild($node);
}
tell('dom-less', $copy->saveXML());

$image = imagecreatetruecolor(400, 300);
for ($i = 0; $i < 300; $i++) {
    imageline($image, $i, 0, 399 - $i, 299, imagecolorallocate($image, $i % 256, 2 * $i % 256, 90));
}
$small = imagescale($image, 120, 90);
ob_start();
imagepng($small);
imagejpeg($image);
tell('gd', ob_get_clean());

file_put_contents('page.txt', $text);
for ($i = 0; $i < 20; $i++) {
    $curl = curl_init('file://' . getcwd() . '/page.txt');
    curl_setopt($curl, CURLOPT_RETURNTRANSFER, true);
    $got = curl_exec($curl);
    curl_close($curl);
}
tell('curl', $got);

$base = new PDO('sqlite::memory:');
$base->exec('create table t(a integer primary key, b text)');
$insert = $base->prepare('insert into t(b) values (?)');
for ($i = 0; $i < 5000; $i++) {
    $insert->execute([md5((string)$i)]);
}
tell('sqlite', $base->query('select group_concat(b) from (select b from t order by b desc)')->fetchAll());

$collator = new Collator('de_DE');
$names = ['Zürich', 'Ärger', 'Apfel', 'zebra', 'Öl', 'oben'];
$collator->sort($names);
tell('intl', $names);
tell('format', (new NumberFormatter('ja_JP', NumberFormatter::SPELLOUT))->format(1234567));

$zip = new ZipArchive();
$zip->open('a.zip', ZipArchive::CREATE);
for ($i = 0; $i < 50; $i++) {
    $zip->addFromString("f$i", str_repeat("line $i\n", 1000));
}
$zip->close();
$zip->open('a.zip');
tell('zip', $zip->getFromName('f33'));
tell('zlib', gzuncompress(gzcompress($text, 9)));
