// What the app needs in the mail's account, ours or one that is there already: a container and tables. An account's own
// settings (soft delete, versions, lifecycle, network) are its owner's where it was there before, and are left alone.

param accountName string

@description('The container of all mail, and the beginning of the tables\' names: letters and digits alone.')
@minLength(3)
@maxLength(40)
param container string

// Named in code: shared/storage/base.py, Table; shared/storage/azure/records.py puts the container's name before. A test
// compares.
var tableNames = [
  'receipts'
  'claims'
  'outbox'
  'mailboxes'
  'subscriptions'
  'conversations'
]

resource account 'Microsoft.Storage/storageAccounts@2023-05-01' existing = {
  name: accountName
}

resource blobs 'Microsoft.Storage/storageAccounts/blobServices@2023-05-01' existing = {
  parent: account
  name: 'default'
}

resource mail 'Microsoft.Storage/storageAccounts/blobServices/containers@2023-05-01' = {
  parent: blobs
  name: container
  properties: {
    publicAccess: 'None'
  }
}

resource tableService 'Microsoft.Storage/storageAccounts/tableServices@2023-05-01' existing = {
  parent: account
  name: 'default'
}

resource tables 'Microsoft.Storage/storageAccounts/tableServices/tables@2023-05-01' = [for table in tableNames: {
  parent: tableService
  name: '${container}${table}'
}]

output tables array = map(tableNames, table => '${container}${table}')
output container string = mail.name

@description('Without a slash at its end, as MAIL_STORAGE takes it.')
output blobUrl string = 'https://${account.name}.blob.${environment().suffixes.storage}'
