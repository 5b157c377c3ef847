// A container and tables in the mail's account, which may be new or existing. The settings of an existing account (soft
// delete, versions, lifecycle, network) are not changed.

param accountName string

@description('Container of all mail, and prefix of the tables\' names: letters and digits only.')
@minLength(3)
@maxLength(40)
param container string

// The tables of shared/storage/base.py, Table; shared/storage/azure/records.py adds the container's name as prefix. A test
// compares them.
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

@description('The value of MAIL_STORAGE, without a slash at its end.')
output blobUrl string = 'https://${account.name}.blob.${environment().suffixes.storage}'
